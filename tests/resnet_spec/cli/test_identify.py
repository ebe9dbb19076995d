"""``resnet-spec identify``: a file is described in a few lines, and at most three specs are named."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_spec import Graph, available, initialize, load, write_weights
from resnet_spec.building import build
from resnet_spec.weights.converting import write_model
from tests.needs import need

Command = Callable[..., Any]

LINES = 14
"""Fewer than fifteen."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have some specs shipped alone, so that not all are lowered."""

    def choose(*names: str) -> None:
        for module in ("resnet_spec.weights.identification", "resnet_spec.describing.nearest"):
            monkeypatch.setattr(f"{module}.available", lambda: names)

    return choose


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hollow(graph: Graph, name: str = "in.safetensors") -> Path:
    """A file of a graph's tensors that says nothing else."""
    path = Path(name)
    save_file({p.name: np.zeros(p.shape, "float16") for p in graph.parameters()}, path)
    return path


def onnx_file(spec: str, overrides: list[str]) -> Path:
    path = Path("model.onnx")
    graph = load(spec, overrides).to_graph()
    write_model(build(load(spec, overrides), "onnx", weights=initialize(graph)), graph, path, "onnx")
    return path


def assert_prints(done: Any, status: int, text: str) -> None:
    assert (done.status, done.err) == (status, "")
    assert done.out == dedent(text).removeprefix("\n")
    lines = done.out.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 80


# -- models ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_model_is_described_with_the_overrides_that_fit(command: Command) -> None:
    path = onnx_file("timm/seresnet18", ["parameters.classes=7", "layers.norm.batch_norm.epsilon=1e-3"])

    assert_prints(
        command("resnet-spec", "identify", path),
        0,
        """
        input       3×224×224
        stem        7×7 convolution, stride 2, 64 channels, then 3×3 max pool, stride 2
        stages      2, 2, 2, 2 blocks of 64, 128, 256, 512 channels, 56×56 to 7×7
        blocks      basic blocks of two 3×3 convolutions, stride in the first 3×3
        shortcut    1×1 convolution where the shape changes
        gate        squeeze-and-excitation
        norm        batch norm, ε 1e-3
        activation  ReLU
        head        global average pool, then linear layer of 7 features
        size        7 classes, 11.3 M parameters, 1.81 G MACs
        fits        timm/seresnet18 --set parameters.classes=7 --set
                    layers.norm.batch_norm.epsilon=0.001
        """,
    )


@pytest.mark.usefixtures("here")
def test_folded_batch_norms_are_noted_and_found(command: Command, few: Callable[..., None]) -> None:
    few("torchvision/resnet18", "timm/resnetblur18", "cifar/resnet20")
    done = command("resnet-spec", "identify", onnx_file("resnet18", ["folded=true"]))

    assert done.status == 0
    assert "note        no normalization: folded into the convolutions, or none\n" in done.out
    assert done.out.endswith("\nfits        torchvision/resnet18 --set folded=true\n")


@pytest.mark.usefixtures("here")
def test_the_nearest_specs_are_named_with_what_is_left(command: Command, few: Callable[..., None]) -> None:
    few("cifar/resnet20", "torchvision/resnet18", "torchvision/resnet34", "timm/seresnet18", "timm/resnet18d")
    path = onnx_file("resnet18", ["stages.layer2.repeat=4", "stem.conv1.conv2d.stride=1"])
    done = command("resnet-spec", "identify", path)
    lines = done.out.splitlines()

    assert done.status == 1
    assert "nearest     torchvision/resnet18 --set stages.layer2.repeat=4" in done.out
    assert len(lines) <= LINES
    assert len([line for line in lines if "/resnet" in line or "/seresnet" in line]) <= 3
    data = json.loads(command("resnet-spec", "identify", path, "--json").out)
    assert data["specs"][0]["differences"] == ["stem: stride 1 instead of 2 in the 7×7 convolution"]
    assert [stage["blocks"] for stage in data["description"]["stages"]] == [2, 4, 2, 2]


MODEL = """
import torch
from torch import nn


def make():
    plain = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)] * 2
    plain[3] = nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(*plain, nn.Flatten(), nn.Linear(32, 5))


def unread():
    class Net(nn.Module):
        def forward(self, x):
            return x.cumsum(1)

    return Net()
"""


def test_a_module_in_python_is_described(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("torch")
    (here / "model_to_identify.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.syspath_prepend(".")
    done = command("resnet-spec", "identify", "model_to_identify:make", "--input", "3x8x8")

    assert done.out.splitlines()[:4] == [
        "input       3×8×8",
        "layers      3×3 convolution, 8 channels, then 2×2 max pool, then 3×3",
        "            convolution, 8 channels, then 2×2 max pool",
        "activation  ReLU",
    ]
    refused = command("resnet-spec", "identify", "model_to_identify:unread", "--input", "3x8x8")
    assert (refused.status, refused.out) == (2, "")
    assert "the spec language has no such operation" in refused.err


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in available()])
def test_no_shipped_network_needs_more_lines(name: str) -> None:
    from resnet_spec.cli.common import table_lines
    from resnet_spec.describing import describe

    lines = table_lines(describe(load(name).to_graph()).lines())
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 80


# -- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_files_specs_are_named_with_what_tells_them_apart(command: Command, few: Callable[..., None]) -> None:
    few("timm/resnet18", "torchvision/resnet18", "timm/resnetblur18", "cifar/resnet20")
    path = hollow(load("resnet18", ["parameters.classes=10"]).to_graph())

    assert_prints(
        command("resnet-spec", "identify", path),
        0,
        """
        tensors    102 of 11.2 M parameters
        stem       7×7 kernel, 3 to 64 channels (conv1.weight)
        blocks     by their names, layer1 2 (to 64 channels), layer2 2 (to 128
                   channels), layer3 2 (to 256 channels), layer4 2 (to 512 channels)
        kernels    16 of 3×3, 3 of 1×1, 1 of 7×7
        norm       20 with running statistics (batch norm)
        head       linear layer of 10 features (fc)
        not known  strides, padding, ε and activations, which tensors do not state
        fits       torchvision/resnet18 --set parameters.classes=10
                   timm/resnet18 --set parameters.classes=10  (computes the same as …)
                   timm/resnetblur18 --set parameters.classes=10
        """,
    )


@pytest.mark.usefixtures("here")
def test_machines_are_reported_too(command: Command, few: Callable[..., None]) -> None:
    few("torchvision/resnet18")
    data = json.loads(command("resnet-spec", "identify", hollow(load("resnet18").to_graph()), "--json").out)

    assert data["description"] is None
    assert data["lines"][0] == {"part": "tensors", "text": "102 of 11.7 M parameters"}
    assert data["specs"] == [
        {"spec": "torchvision/resnet18", "overrides": [], "share": 1.0, "differences": [], "unlike": "", "fits": True}
    ]


@pytest.mark.usefixtures("here")
def test_another_number_of_blocks_is_an_override(command: Command, few: Callable[..., None]) -> None:
    few("torchvision/resnet18", "cifar/resnet20")
    done = command("resnet-spec", "identify", hollow(load("resnet18", ["stages.layer1.repeat=5"]).to_graph()))

    assert done.status == 0
    assert done.out.endswith("\nfits       torchvision/resnet18 --set stages.layer1.repeat=5\n")


@pytest.mark.usefixtures("here")
def test_what_does_not_fit_is_named_with_its_share(command: Command, few: Callable[..., None]) -> None:
    few("torchvision/resnet18")
    arrays = {p.name: np.zeros(p.shape, "float16") for p in load("resnet18").to_graph().parameters()}
    arrays["layer1.0.conv1.weight"] = np.zeros((64, 64, 5, 5), "float16")
    save_file(arrays, "in.safetensors")
    done = command("resnet-spec", "identify", "in.safetensors")

    assert done.status == 1
    assert done.out.endswith("\nnearest    torchvision/resnet18  (98% of names and shapes agree)\n")
    (match,) = json.loads(command("resnet-spec", "identify", "in.safetensors", "--json").out)["specs"]
    assert len(match["differences"]) == 2


@pytest.mark.usefixtures("here")
def test_averages_and_other_tensors_are_counted(command: Command, few: Callable[..., None]) -> None:
    need("torch")
    import torch

    few("cifar/resnet20")
    state = {name: torch.from_numpy(own) for name, own in initialize(load("cifar/resnet20").to_graph()).items()}
    torch.save({"state_dict": state, "state_dict_ema": state, "epoch": 3}, "in.pth")
    done = command("resnet-spec", "identify", "in.pth")

    assert done.status == 0
    assert "stem       3×3 kernel, 3 to 16 channels (conv1.weight)\n" in done.out
    assert "exponential moving averages of " in done.out


@pytest.mark.usefixtures("here")
def test_a_file_that_states_its_graph_is_described_by_it(command: Command, few: Callable[..., None]) -> None:
    few("cifar/resnet20")
    graph = load("cifar/resnet20", ["parameters.classes=7"]).to_graph()
    write_weights("in.safetensors", graph, initialize(graph))
    done = command("resnet-spec", "identify", "in.safetensors")

    assert "\nstages      3, 3, 3 blocks of 16, 32, 64 channels, 32×32 to 8×8\n" in done.out
    assert done.out.endswith("\nfits        cifar/resnet20 --set parameters.classes=7\n")


@pytest.mark.usefixtures("here")
def test_a_file_that_is_like_nothing_is_reported(command: Command, few: Callable[..., None]) -> None:
    few("torchvision/resnet18")
    save_file({"a": np.zeros(3)}, "x")
    done = command("resnet-spec", "identify", "x")

    assert (done.status, done.err) == (1, "")
    assert done.out.startswith("tensors    1 of 3 parameters\n")
    assert done.out.endswith("\nnearest    no shipped spec is similar\n")


@pytest.mark.usefixtures("here")
def test_names_do_not_reach_the_terminal_as_they_are(command: Command, few: Callable[..., None]) -> None:
    few("cifar/resnet20")
    save_file({"\x1b[31mred\n.weight": np.zeros((8, 3, 3, 3), "float16")}, "in.safetensors")
    out = command("resnet-spec", "identify", "in.safetensors").out

    assert "\x1b" not in out
    assert "stem       3×3 kernel, 3 to 8 channels (\N{REPLACEMENT CHARACTER}[31mred" in out


@pytest.mark.usefixtures("here")
def test_wrong_files_are_one_line(command: Command) -> None:
    Path("x.safetensors").write_bytes(b"\xff" * 64)
    Path("junk.onnx").write_text("junk\n", encoding="utf-8")
    Path("junk.pth").write_text("junk\n", encoding="utf-8")
    for name, said in (
        ("x.safetensors", "x.safetensors: is not a whole safetensors file ("),
        ("y", "y: no such file\n"),
        ("y.onnx", "y.onnx: no such file\n"),
        ("junk.onnx", "junk.onnx: is not a complete ONNX file ("),
        ("junk.pth", "junk.pth: is a text, not weights: 'junk'\n"),
        ("nothing:at_all", "nothing:at_all: No module named 'nothing'\n"),
    ):
        done = command("resnet-spec", "identify", name)
        assert (done.status, done.out) == (2, ""), name
        assert done.err.startswith(said), name
        assert len(done.err.splitlines()) == 1


def test_a_folder_of_weights_is_not_taken_for_a_model(here: Path, command: Command, few: Callable[..., None]) -> None:
    need("torch")
    import torch
    from torch.distributed import checkpoint

    few("cifar/resnet20")
    state = {name: torch.from_numpy(array) for name, array in initialize(load("cifar/resnet20").to_graph()).items()}
    with warnings.catch_warnings(action="ignore"):
        checkpoint.save(state, checkpoint_id=here / "step", no_dist=True)
    done = command("resnet-spec", "identify", "step")
    assert (done.status, "unread" in done.out, "cifar/resnet20" in done.out) == (0, False, True)
