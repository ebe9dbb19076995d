"""``resnet-spec diff``: what it says of pairs of networks, at 80 columns, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from resnet_spec import initialize, load, write_weights
from resnet_spec.building import build
from resnet_spec.weights.converting import write_model
from tests.needs import need

Command = Callable[..., Any]
Write = Callable[..., Path]

GOLDEN = {
    "resnet50 resnet101": """
        torchvision/resnet101 compared with torchvision/resnet50
        stage 3     23 blocks instead of 6
        parameters  25.6 M → 44.5 M
        MACs        4.09 G → 7.8 G
    """,
    "msra/resnet50 torchvision/resnet50": """
        torchvision/resnet50 compared with msra/resnet50
        blocks  stride in the 3×3 convolution instead of the first 1×1 convolution
        MACs    3.86 G → 4.09 G
    """,
    "timm/resnet50 timm/seresnet50": """
        timm/seresnet50 compared with timm/resnet50
        gate        squeeze-and-excitation to 1/16 of the channels
        parameters  25.6 M → 28.1 M
        MACs        4,089,184,256 → 4,091,699,200
    """,
    "resnet18 cifar/resnet20": """
        cifar/resnet20 compared with torchvision/resnet18
        input         3×32×32 instead of 3×224×224
        stem          3×3 convolution instead of 7×7, 16 channels instead of 64, stride
                      1 instead of 2; no 3×3 max pool
        channels      16, 32, 64 instead of 64, 128, 256
        stages        3, 3, 3 blocks instead of 2, 2, 2
        stage 4       none, instead of 2 blocks of 512 channels
        first blocks  1×1 max pool and padding of channels instead of 1×1 convolution as
                      shortcut
        classes       10 instead of 1000
        parameters    11.7 M → 270 k
        MACs          1.81 G → 40.6 M
    """,
    "keras/resnet50 torchvision/resnet50": """
        torchvision/resnet50 compared with keras/resnet50
        convolution  without bias
        norm         ε 1e-5 instead of 1.001e-5
        stem         7×7 convolution padded by itself
                     3×3 max pool padded by itself, with −∞ instead of zeros
        blocks       stride in the 3×3 convolution instead of the first 1×1 convolution
        head         no softmax
        training     batch norm: momentum 0.1 instead of 0.01; batch norm: running
                     variance unbiased instead of biased
        parameters   25,583,592 → 25,557,032
        MACs         3.86 G → 4.09 G
    """,
    "timm/resnet50 timm/resnetv2_50": """
        timm/resnetv2_50 compared with timm/resnet50
        stem          no batch norm or ReLU
        blocks        norm and activation before each convolution instead of after
        first blocks  no batch norm in the shortcut
        head          with batch norm, then ReLU; with 1×1 convolution, 1000 channels
                      after the global average pool; no linear layer
        parameters    25.6 M → 25.5 M
    """,
    "timm/resnet50 timm/resnet50d": """
        timm/resnet50d compared with timm/resnet50
        stem          3×3 convolutions of 32, 32 and 64 channels, the first with stride
                      2 instead of 7×7 convolution, stride 2, 64 channels
        first blocks  2×2 average pool and 1×1 convolution instead of 1×1 convolution as
                      shortcut
        parameters    25,557,032 → 25,576,264
        MACs          4.09 G → 4.33 G
    """,
    "resnet50 resnext50_32x4d": """
        torchvision/resnext50_32x4d compared with torchvision/resnet50
        blocks      128, 256, 512, 1024 channels instead of 64, 128, 256, 512 in the
                    first 1×1 convolution and 3×3 convolution
                    32 groups instead of 1 in the 3×3 convolution
        parameters  25.6 M → 25 M
        MACs        4.09 G → 4.23 G
    """,
    "timm/resnetv2_50 keras/resnet50v2": """
        keras/resnet50v2 compared with timm/resnetv2_50
        norm          ε 1.001e-5 instead of 1e-5
        stem          7×7 convolution padded by a layer before it
                      3×3 max pool padded by a layer before it, with zeros instead of −∞
                      with bias in the 7×7 convolution
        blocks        stride in the last block of a stage instead of the first
                      3×3 convolution padded by a layer before it
                      with bias in the second 1×1 convolution
        first blocks  with bias in the 1×1 convolution of the shortcut
        head          no 1×1 convolution; with linear layer of 1000 features after the
                      flatten; with softmax
        training      batch norm: momentum 0.01 instead of 0.1; batch norm: running
                      variance biased instead of unbiased
        parameters    25.5 M → 25.6 M
        MACs          4.09 G → 3.48 G
    """,
    "tutorial/resnet18 resnet18": """
        torchvision/resnet18 compared with tutorial/resnet18
        convolution   without bias
        norm          ε 1e-5 instead of 1e-3
        stem          padding 3 instead of 'same' in the 7×7 convolution; padding 1
                      instead of 'same' in the 3×3 max pool
        blocks        the second batch norm has parameters of its own instead of the
                      parameters of the first batch norm
        first blocks  padding 1 instead of 'same' in the first 3×3 convolution
                      with batch norm after the 1×1 convolution of the shortcut
        head          no softmax
        classes       1000 instead of 10
        training      batch norm: momentum 0.1 instead of 0.01; batch norm: running
                      variance unbiased instead of biased
        parameters    11.2 M → 11.7 M
        MACs          1,813,566,464 → 1,814,073,344
    """,
    "timm/resnet50 timm/resnetblur50": """
        timm/resnetblur50 compared with timm/resnet50
        stem          stride 1 instead of 2 in the 3×3 max pool; with zero padding 1,
                      then 2 × 2×2 average pool after the 3×3 max pool
        blocks        stride in the second 2×2 average pool instead of the 3×3
                      convolution
        first blocks  with zero padding 1, then 2 × 2×2 average pool after the second
                      ReLU
        MACs          4.09 G → 5.13 G
    """,
    "timm/gcresnext50ts timm/resnext26ts": """
        timm/resnext26ts compared with timm/gcresnext50ts
        stages      2, 2, 2, 2 blocks instead of 3, 4, 6, 3
        gate        none instead of global context to 1/8 of the channels
        parameters  15.7 M → 10.3 M
        MACs        3.72 G → 2.41 G
    """,
}
"""What is printed for two specs; each was read by a person and compared with the two files."""

MODEL = """
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, before, channels, stride=1):
        super().__init__()
        self.one = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3)
        self.two = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.other = nn.BatchNorm2d(channels, eps=1e-3)
        same = stride == 1 and before == channels
        self.side = nn.Identity() if same else nn.Conv2d(before, channels, 1, stride, bias=False)

    def forward(self, x):
        y = F.leaky_relu(self.norm(self.one(x)), 0.1)
        return F.leaky_relu(self.other(self.two(y)) + self.side(x), 0.1)


def make():
    rows = [Block(16, 16), Block(16, 16), Block(16, 32, 2), Block(32, 32)]
    begin = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.LeakyReLU(0.1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 7)]
    return nn.Sequential(*begin, *rows, *end)


def fails():
    raise RuntimeError("no weights here")
"""

EPSILON = "layers.norm.batch_norm.epsilon=1e-3"


@pytest.mark.parametrize("pair", GOLDEN)
def test_what_differs_is_said_as_a_person_would(command: Command, pair: str) -> None:
    done = command("resnet-spec", "diff", *pair.split())

    assert (done.status, done.err) == (1, "")
    assert done.out == dedent(GOLDEN[pair]).removeprefix("\n")
    assert max(map(len, done.out.splitlines())) <= 80


def test_equal_networks_with_other_names_are_the_same(command: Command) -> None:
    assert command("resnet-spec", "diff", "resnet50", "timm/resnet50") == (
        0,
        "timm/resnet50 computes the same as torchvision/resnet50\n",
        "",
    )


def test_one_spec_is_compared_with_itself_under_overrides(command: Command) -> None:
    done = command("resnet-spec", "diff", "resnet18", "--set", EPSILON, "--set", "parameters.classes=10")

    assert done.out.splitlines()[-4:-2] == ["norm        ε 1e-3 instead of 1e-5", "classes     10 instead of 1000"]
    assert command("resnet-spec", "diff", "resnet18", "--set", "parameters.classes=1000").status == 0


def test_overrides_apply_to_both_specs(command: Command) -> None:
    done = command("resnet-spec", "diff", "resnet18", "timm/resnet18", "--set", "parameters.classes=10")

    assert done.status == 0


def test_a_spec_is_compared_with_an_onnx_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = load("resnet18", [EPSILON]).to_graph()
    path = Path("mine.onnx")
    write_model(build(load("resnet18", [EPSILON]), "onnx", weights=initialize(graph)), graph, path, "onnx")

    assert command("resnet-spec", "diff", "resnet18", path) == (
        1,
        f"{path} compared with torchvision/resnet18\n"
        "norm  ε 1e-3 instead of 1e-5\n"
        "What only training depends on is not compared: models do not state all of it.\n",
        "",
    )
    assert command("resnet-spec", "diff", path, "resnet18", "--set", EPSILON).status == 0


def test_a_spec_is_compared_with_a_module_written_by_hand(
    command: Command, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("torch")
    write(MODEL, "model_to_compare.py")
    monkeypatch.syspath_prepend(".")
    done = command("resnet-spec", "diff", "cifar/resnet20b", "model_to_compare:make", "--input", "3x32x32")

    assert done.status == 1
    assert done.out == dedent(
        """\
        model_to_compare:make compared with cifar/resnet20b
        norm                  ε 1e-3 instead of 1e-5
        activation            leaky ReLU 0.1 instead of ReLU
        stages                2, 2 blocks instead of 3, 3
        stage 3               none, instead of 3 blocks of 64 channels
        stage 2, first block  no batch norm in the shortcut
        classes               7 instead of 10
        parameters            272 k → 43.1 k
        MACs                  40.8 M → 18.3 M
        What only training depends on is not compared: models do not state all of it.
        """
    )


def test_a_weights_file_that_states_its_graph_is_a_network(command: Command, small: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    write_weights(path, small, initialize(small))

    assert command("resnet-spec", "diff", "spec.yaml", path).status == 0


def test_layers_are_printed_in_pairs(command: Command) -> None:
    done = command("resnet-spec", "diff", "msra/resnet50", "torchvision/resnet50", "--graph")

    assert done.out.startswith(
        "torchvision/resnet50 compared with msra/resnet50\n  … 36 equal layers\n"
        "~ res3.0.conv1 → layer2.0.conv1\n      stride 2 → 1\n  … 2 equal layers\n"
    )
    added = command("resnet-spec", "diff", "timm/resnet50", "timm/seresnet50", "--graph").out
    assert "+ layer1.0.se.squeeze: global average pool\n" in added
    assert max(map(len, added.splitlines())) <= 80


def test_json_has_both_networks_and_every_pair(command: Command) -> None:
    data = json.loads(command("resnet-spec", "diff", "resnet18", "cifar/resnet20", "--graph", "--json").out)

    assert not data["same"]
    assert [network["name"] for network in data["networks"]] == ["torchvision/resnet18", "cifar/resnet20"]
    assert [stage["blocks"] for stage in data["networks"][1]["stages"]] == [3, 3, 3]
    assert {"part": "classes", "text": "10 instead of 1000"} in data["differences"]
    assert data["sizes"]["parameters"] == [11689512, 269722]
    first = data["nodes"][0]
    assert (first["status"], first["part"], first["differs"]) == (
        "changed",
        "stem",
        ["channels", "kernel", "stride", "padding"],
    )
    for side, name in enumerate(("first", "second")):
        listed = [row[name]["name"] for row in data["nodes"] if row[name]]
        graph = load(("resnet18", "cifar/resnet20")[side]).to_graph()
        assert sorted(listed) == sorted(node.name for node in graph.nodes)


def test_the_page_stands_alone(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = command("resnet-spec", "diff", "timm/resnet50", "timm/seresnet50", "--html", path)
    page = path.read_text("utf-8")

    assert done.status == 1
    assert "squeeze-and-excitation to 1/16 of the channels" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet18"], "name two networks, or one spec with --set"),
        (["resnet18", "nothing.onnx"], "nothing.onnx: does not exist\n"),
        (["resnet18", "resnet500"], "no shipped spec is named 'resnet500'; did you mean 'resnet50'? (a file's path"),
        (["resnet18", "nothing.yaml"], "nothing.yaml: No such file"),
        (["resnet18", "junk.onnx"], "junk.onnx: is not a complete ONNX file (it ends at byte 5, inside a field"),
        (["resnet18", "junk.pth"], "junk.pth: is a text, not weights: 'junk'\n"),
        (["resnet18", "plain.safetensors"], "plain.safetensors: states tensors and no network; `resnet-spec identify"),
        (["resnet18", "model_to_compare:nothing"], "module 'model_to_compare' has no attribute 'nothing'\n"),
        (["resnet18", "model_to_compare:fails"], "model_to_compare:fails raised RuntimeError: no weights here\n"),
        (["resnet18", "resnet34", "--input", "3*4"], "--input is sizes joined by x, channels first, such as"),
        (["resnet18", "resnet34", "--input", "3x64x64"], "--input is for models; override a spec's input"),
        (["resnet18", ""], "no shipped spec is named ''"),
        (["resnet18", "resnet34", "--html", "nowhere/x.html"], "nowhere/x.html: the folder nowhere does not exist\n"),
        (["junk.onnx", "resnet18", "--set", "nothing.at=1"], "junk.onnx: is not a complete ONNX file"),
    ],
)
def test_what_is_not_a_network_is_one_line(
    command: Command, write: Write, small: Any, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import save_file

    need("torch")
    write(MODEL, "model_to_compare.py")
    monkeypatch.syspath_prepend(".")
    write("junk\n", "junk.onnx")
    write("junk\n", "junk.pth")
    save_file(initialize(small), "plain.safetensors")
    done = command("resnet-spec", "diff", *arguments)

    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == (4 if "Usage" in done.err else 1)
