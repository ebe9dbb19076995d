"""``resnet-spec import``: what it prints and writes, and what it refuses before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet_spec import load, read_weights
from resnet_spec.importing import importer

Command = Callable[..., Any]
Write = Callable[..., Any]

MODEL = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))

def fails():
    raise RuntimeError("no weights here")

number = 5
"""

OPTIONS = ["--input", "3x8x8", "--backends", "torch"]


@pytest.fixture
def model(write: Write, monkeypatch: pytest.MonkeyPatch) -> str:
    write(MODEL, "model_to_import.py")
    monkeypatch.syspath_prepend(".")
    return "model_to_import"


def test_a_spec_and_its_weights_are_written(command: Command, model: str, tmp_path: Any) -> None:
    status, out, _ = command(
        "resnet-spec", "import", f"{model}:make", *OPTIONS, "-o", "mine.yaml", "--weights", "mine.safetensors"
    )
    assert status == 0
    assert "the original  float32  torch float64" in out
    assert out.endswith("wrote mine.yaml\nwrote mine.safetensors\n")
    graph = load(tmp_path / "mine.yaml").to_graph()
    assert [node.operation.op for node in graph.nodes] == ["conv2d", "batch_norm", "relu", "flatten", "linear"]
    arrays = read_weights(tmp_path / "mine.safetensors", graph)
    assert list(arrays)[:2] == ["0.weight", "0.bias"]


def test_without_an_output_the_spec_is_printed_alone(command: Command, model: str) -> None:
    status, out, err = command("resnet-spec", "import", f"{model}:make", *OPTIONS)
    assert status == 0
    assert out.startswith("description: Imported from Sequential\n")
    assert "agrees" not in out
    assert "agrees" in err


def test_json_has_the_spec_and_the_comparison(command: Command, model: str) -> None:
    status, out, _ = command("resnet-spec", "import", f"{model}:make", *OPTIONS, "--json")
    data = json.loads(out)
    assert status == 0
    assert data["parity"]["passed"]
    assert data["spec"].startswith("description:")


def test_what_differs_is_not_written(
    command: Command, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    read = importer.read_source

    def wrong(given: Any, input: Any) -> Any:
        source = read(given, input)
        arrays = {name: np.where(array == array.max(), array * 1.2, array) for name, array in source.arrays.items()}
        return importer.SourceModel(source.graph, arrays, source.run)

    monkeypatch.setattr(importer, "read_source", wrong)
    status, out, err = command("resnet-spec", "import", f"{model}:make", *OPTIONS, "-o", "mine.yaml")
    assert status == 1
    assert "DIFFERS" in out
    assert err.endswith("nothing was written, since the results differ\n")
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["MODEL:make", "--input", "3,8,8"], 2, "--input is sizes joined by x"),
        (["MODEL:make", "--input", "4x8x8"], 2, "torch.export cannot record Sequential for an input of [2, 4, 8, 8]"),
        (["MODEL:number"], 2, "MODEL:number: is not a function"),
        (["MODEL:missing"], 2, "MODEL:missing: module 'model_to_import' has no attribute 'missing'"),
        (["MODEL:fails"], 2, "MODEL:fails raised RuntimeError: no weights here"),
        (["missing.onnx"], 2, "missing.onnx: does not exist"),
        (["model_to_import.py"], 2, "no installed backend imports .py"),
        (["MODEL:make", "-o", "mine.txt"], 2, "a spec's path ends in .yaml or .yml"),
        (["MODEL:make", "-o", "model_to_import.py"], 2, "a spec's path ends in .yaml or .yml"),
        (["MODEL:make", "-o", "none/mine.yaml"], 2, "the folder none does not exist"),
        (["MODEL:make", "--weights", "model_to_import.py"], 2, "model_to_import.py exists already"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    command: Command, model: str, arguments: list[str], status: int, message: str
) -> None:
    found = command("resnet-spec", "import", *(argument.replace("MODEL", model) for argument in arguments))
    assert found.status == status
    assert message.replace("MODEL", model) in found.err
    assert "Traceback" not in found.err
