"""What is written reads again, and exported programs run without this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet_spec.errors import OutputError, WeightsError
from resnet_spec.graph import Graph
from resnet_spec.weights.formats.pytorch import read_state_dict
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_images, small_resnet

BACKEND = TorchBackend()


def test_a_state_dict_is_written_and_read_again(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph)
    BACKEND.write(model, graph, tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth")
    assert list(state) == list(model.state_dict())
    other = BACKEND.compile(graph)
    BACKEND.load(other, graph, read_state_dict(tmp_path / "w.pth").tensors)
    images = random_images(1, 3, 32, 32)
    np.testing.assert_array_equal(BACKEND.forward(other, images)[0], BACKEND.forward(model, images)[0])


def test_half_precision_rounds_what_is_floating_point(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    BACKEND.write(model, graph, tmp_path / "w.pth", half=True)
    state = torch.load(tmp_path / "w.pth")
    assert list(state) == list(before)
    for name, tensor in before.items():
        assert torch.equal(state[name], tensor.half() if tensor.is_floating_point() else tensor)
        assert torch.equal(model.state_dict()[name], tensor)
    assert state["bn1.num_batches_tracked"].dtype == torch.int64


def test_what_half_precision_does_not_hold_is_reported(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph)
    model.fc.bias.data[1] = 1e5
    with pytest.raises(WeightsError) as caught:
        BACKEND.write(model, graph, tmp_path / "w.pth", half=True)
    wanted = ["some values are too large for half precision", "fc.bias: 1 of 5 elements are too large for float16"]
    assert str(caught.value).splitlines() == wanted
    with pytest.raises(OutputError, match=r"the torch backend writes \.pth in half precision, not \.pt2"):
        BACKEND.write(model, graph, tmp_path / "w.pt2", half=True)
    assert not list(tmp_path.iterdir())


_RUN = """
import builtins, sys
import numpy, torch

def refuse(name, *rest, _import=builtins.__import__, **keywords):
    if name.partition(".")[0] in ("resnet_spec", "resnet_spec_torch"):
        raise ImportError(name)
    return _import(name, *rest, **keywords)

builtins.__import__ = refuse
programs = {name: torch.export.load(f"{name}.pt2").module() for name in ("any", "one", "vector")}
given = numpy.load("images.npz")
outputs = {}
for name in given.files:
    output = programs[name.partition("-")[0]](torch.from_numpy(given[name]))
    if isinstance(output, dict):
        assert list(output) == ["b", "a"]
        output = list(output.values())
    outputs[name] = (output[-1] if isinstance(output, list) else output).detach().numpy()
numpy.savez("outputs.npz", **outputs)
assert not any(name.partition(".")[0].startswith("resnet_spec") for name in sys.modules)
"""


def any_size() -> Graph:
    b = Builder(3, 40, 40).add("conv1", "conv2d", channels=4, kernel=7, stride=2, padding="same")
    b.add("pool", "max_pool2d", kernel=3, stride=2, padding="same")
    b.add("block.conv1", "conv2d", channels=8, kernel=3, stride=2, padding="same").add("block.bn", "batch_norm")
    b.add("block.conv2", "conv2d", "pool", channels=8, kernel=1, stride=2)
    b.add("block.add", "add", "block.bn", "block.conv2").add("block.relu", "relu")
    b.add("pad", "pad2d", padding=[[0, 1], [2, 0]]).add("odd", "max_pool2d", kernel=2, padding=[[0, 1], [0, 1]])
    b.add("gap", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5).add("p", "softmax")
    return b.graph()


def one_size() -> Graph:
    b = Builder(2, 5, 4).add("conv", "conv2d", channels=3, kernel=3).add("flatten", "flatten")
    graph = b.add("fc", "linear", features=2).graph("conv", "fc")
    assert graph.depends_on_size
    return graph


def vectors() -> Graph:
    b = Builder(6).add("fc", "linear", features=12).add("map", "reshape", shape=[3, 2, 2])
    b.add("up", "conv_transpose2d", channels=2, kernel=3, stride=2, padding="same")
    return b.add("drop", "dropout", rate=0.5).graph("up", "drop", output_names=("b", "a"))


@pytest.mark.slow
def test_programs_run_where_this_package_is_not(tmp_path: Path) -> None:
    """At every size, or at every batch of the graph's own size where its parameters depend on that."""
    wanted: dict[str, Any] = {}
    images: dict[str, Any] = {}
    for name, graph, sizes in (
        ("any", any_size(), [(1, 3, 40, 40), (2, 3, 39, 41), (3, 3, 64, 50), (1, 3, 17, 100)]),
        ("one", one_size(), [(1, 2, 5, 4), (7, 2, 5, 4)]),
        ("vector", vectors(), [(1, 6), (5, 6)]),
    ):
        model = build(graph)
        BACKEND.write(model, graph, tmp_path / f"{name}.pt2")
        for shape in sizes:
            key = f"{name}-{shape}"
            images[key] = random_images(*shape)
            wanted[key] = BACKEND.forward(model, images[key])[-1]
    np.savez(tmp_path / "images.npz", **images)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-P", "-c", _RUN], check=True, cwd=tmp_path, env=environment)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for key, output in wanted.items():
            np.testing.assert_allclose(outputs[key], output, rtol=1e-5, atol=1e-5, err_msg=key)


def test_a_program_is_in_inference_mode_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph).train()
    model.layer1.eval()
    BACKEND.write(model, graph, tmp_path / "m.pt2")
    assert model.training
    assert model.layer2[0].bn1.training
    assert not model.layer1[0].bn1.training
    images = random_images(2, 3, 32, 32)
    program = torch.export.load(tmp_path / "m.pt2").module()
    with torch.no_grad():
        result = program(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(result, BACKEND.forward(model, images)[0], rtol=1e-5, atol=1e-5)
