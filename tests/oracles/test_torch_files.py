"""torchvision's and timm's files are read and written back bit for bit, and load without this package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

import resnet_spec
from resnet_spec import Graph, read_weights, write_weights
from resnet_spec.operations import Role
from resnet_spec.weights.converting import convert, find_target
from resnet_spec_torch import TorchBackend

from .common import images, relative
from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402

ROOT = Path(__file__).parents[2]
BACKEND = TorchBackend()

NAMES = (
    "torchvision/resnet18",
    "torchvision/resnet50",
    "timm/resnet18",
    "timm/resnet18d",
    "timm/seresnet18",
    "timm/ecaresnet26t",
    "timm/resnetblur18",
    "timm/resnetaa34d",
    "timm/resnetv2_18",
    "timm/resnetv2_50x1_bit",
)
"""One of each kind: stems, gates, anti-aliasing before and after activations, standardized convolutions."""


def original(name: str) -> nn.Module:
    """The library's model, with random values in every tensor except the counters."""
    library, _, network = name.partition("/")
    torch.manual_seed(5)
    model = timm.create_model(network) if library == "timm" else getattr(models(), network)()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_()
    return model.eval()


def assert_same(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert list(state) == list(wanted)
    for name, tensor in wanted.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


def _zip(state: Any, path: Path) -> Path:
    torch.save(state, path / "w.pth")
    return path / "w.pth"


def _legacy(state: Any, path: Path) -> Path:
    torch.save({"state_dict": state, "epoch": 1}, path / "legacy.pth", _use_new_zipfile_serialization=False)
    return path / "legacy.pth"


def _safetensors(state: Any, path: Path) -> Path:
    save_file(state, path / "w.safetensors")
    return path / "w.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_goes_in_and_out_to_the_bit(name: str, tmp_path: Path) -> None:
    graph, model = resnet_spec.load(name).to_graph(), original(name)
    wanted = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    arrays = read_weights(_zip(wanted, tmp_path), graph)
    for save in (_legacy, _safetensors):
        read = read_weights(save(wanted, tmp_path), graph)
        assert list(read) == list(arrays)
        assert all(np.array_equal(read[key], array) for key, array in arrays.items())
    convert(graph, arrays, find_target(tmp_path / "ours.pth"))
    write_weights(tmp_path / "ours.safetensors", graph, arrays)

    state = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert_same(state, wanted)
    for file in (state, load_file(tmp_path / "ours.safetensors")):
        for tensor in model.state_dict().values():
            tensor.zero_()
        model.load_state_dict(file, strict=True)
        assert_same(model.state_dict(), wanted)


def test_a_checkpoint_of_the_reference_script_goes_in_and_out(tmp_path: Path) -> None:
    """torchvision's ``references/classification`` averages with AveragedModel, timm with its own copy."""
    name = "torchvision/resnet18"
    graph, model = resnet_spec.load(name).to_graph(), original(name)
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    averaged.update_parameters(model)
    for parameter in model.parameters():
        parameter.data += 1
    wrapped = nn.DataParallel(torch.compile(model, backend="eager"))  # type: ignore[arg-type]
    torch.save({"model": wrapped.state_dict(), "model_ema": averaged.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    for ema, wanted in ((False, model), (True, averaged.module)):
        convert(graph, read_weights(tmp_path / "w.pth", graph, ema=ema), find_target(tmp_path / f"{ema}.pth"))
        assert_same(torch.load(tmp_path / f"{ema}.pth", weights_only=True), wanted.state_dict())


# -- without this package ----------------------------------------------------------------------------------------

_BLOCKED = """
import builtins, sys

def refuse(name, *rest, _import=builtins.__import__, **keywords):
    if name.partition(".")[0] in ("resnet_spec", "resnet_spec_torch"):
        raise ImportError(name)
    return _import(name, *rest, **keywords)

builtins.__import__ = refuse
"""

_ALONE = (
    _BLOCKED
    + """
import numpy, torch
from safetensors.torch import load_file
from tests.oracles.torchvision_original import models

folder = sys.argv[1]
outputs = {}
given = {size: torch.from_numpy(batch) for size, batch in numpy.load(f"{folder}/images.npz").items()}
for ending, state in (
    ("pth", torch.load(f"{folder}/w.pth", weights_only=True)),
    ("safetensors", load_file(f"{folder}/w.safetensors")),
):
    model = models().resnet18(num_classes=7).eval()
    model.load_state_dict(state, strict=True)
    with torch.inference_mode():
        outputs |= {f"{ending} {size}": model(batch).numpy() for size, batch in given.items()}
program = torch.export.load(f"{folder}/w.pt2").module()
outputs |= {f"pt2 {size}": program(batch).detach().numpy() for size, batch in given.items()}
numpy.savez(f"{folder}/outputs.npz", **outputs)
assert not any(name.partition(".")[0].startswith("resnet_spec") for name in sys.modules)
"""
)


def test_what_is_written_is_used_without_this_package(tmp_path: Path) -> None:
    graph = resnet_spec.load("torchvision/resnet18", {"parameters.classes": 7}).to_graph()
    arrays = resnet_spec.initialize(graph, seed=3)
    model = BACKEND.compile(graph)
    BACKEND.load(model, graph, arrays)
    for ending in ("pth", "pt2", "safetensors"):
        convert(graph, arrays, find_target(tmp_path / f"w.{ending}"))
    batches = {str(size): images(size, batch).astype(np.float32) for size, batch in ((224, 2), (150, 1), (99, 3))}
    np.savez(tmp_path / "images.npz", **batches)
    command = [sys.executable, "-c", _ALONE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert len(outputs.files) == 9
        for size, batch in batches.items():
            wanted = BACKEND.forward(model, batch)[0]
            for ending in ("pth", "safetensors", "pt2"):
                assert relative(outputs[f"{ending} {size}"], wanted, float(wanted.std())) < 1e-5


# -- through TensorFlow ------------------------------------------------------------------------------------------

EVERY_ROLE = """
name: every_role
input: {channels: 3, height: 16, width: 16}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
  position: {position_batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: biased}}
stem:
  conv: {conv2d: {channels: 8, kernel: [3, 2], stride: 2, bias: true}}
  norm: norm
  grouped: {conv2d: {channels: 12, kernel: 3, groups: 4}}
  frozen: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased, scale: false}}
  standard: {std_conv2d: {channels: 8, kernel: [1, 3], epsilon: 1e-6, bias: true, gain: true}}
  groups: {group_norm: {groups: 2, epsilon: 1e-5}}
  evo: {evo_norm_s0: {groups: 2, epsilon: 1e-5}}
  response: {filter_response_norm: {epsilon: 1e-5, threshold: true}}
  slopes: {prelu: {per_channel: true}}
  factors.gamma: {scale: {shape: channels}}
  factor: {scale: {shape: scalar}}
  terms: {offset: {shape: map}}
  token: {parameter: {shape: [8, 3, 4]}}
  up: {conv_transpose2d: {channels: 6, kernel: [2, 3], stride: 2, bias: true}}
  position: position
head:
  pool: {gem_pool: {epsilon: 1e-3}}
  sequence: {reshape: {shape: [6, 1]}}
  along: {conv1d: {channels: 4, kernel: 1, bias: true}}
  flat: flatten
  fc: {linear: {features: 5}}
"""

_THROUGH = """
import sys
from pathlib import Path
from resnet_spec import Graph, read_weights
from resnet_spec.backend.registry import get_backend
from resnet_spec.weights.formats.safetensors import write_safetensors

folder = Path(sys.argv[1])
graph = Graph.from_json((folder / "graph.json").read_bytes())
backend = get_backend("tensorflow")
model = backend.compile(graph)
backend.load(model, graph, read_weights(folder / "in.safetensors", graph))
write_safetensors(folder / "out.safetensors", backend.arrays(model, graph))
"""


def drawn(graph: Graph) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(9)
    return {p.name: rng.standard_normal(p.shape).astype(np.float32) for p in graph.parameters()}


def test_arrays_go_through_tensorflow_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(EVERY_ROLE)
    graph = resnet_spec.load(tmp_path / "network.yaml").to_graph()
    assert {parameter.role for parameter in graph.parameters()} == set(Role)
    (tmp_path / "graph.json").write_text(graph.to_json())
    convert(graph, drawn(graph), find_target(tmp_path / "first.pth"))

    write_weights(tmp_path / "in.safetensors", graph, read_weights(tmp_path / "first.pth", graph))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _THROUGH, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    arrays = read_weights(tmp_path / "out.safetensors", graph)
    assert all(np.array_equal(arrays[name], array) for name, array in drawn(graph).items())

    convert(graph, arrays, find_target(tmp_path / "second.pth"))
    first, second = (torch.load(tmp_path / f"{which}.pth", weights_only=True) for which in ("first", "second"))
    assert_same(second, first)
