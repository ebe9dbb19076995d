"""``resnet-spec quantize``, and the commands that take its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import Quantization, initialize, load, write_weights
from tests.needs import need

need("torch")

Command = Callable[..., Any]
SPEC = "cifar/resnet20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and images as the network reads them."""
    path = tmp_path_factory.mktemp("quantize")
    graph = load(SPEC).to_graph()
    write_weights(path / "w.safetensors", graph, initialize(graph))
    np.save(path / "images.npy", np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype("float32"))
    return path


def quantize(command: Command, folder: Path, *options: str) -> Any:
    given = ["--weights", str(folder / "w.safetensors"), "--images", str(folder / "images.npy")]
    return command("resnet-spec", "quantize", SPEC, *given, *options)


def test_a_file_is_written_that_the_other_commands_take(command: Command, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.json"
    status, output, errors = quantize(command, folder, "-o", str(file), "--keep", "layer3", "--compare", "2")
    assert status == 0, errors
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert lines["images"] == "4, ranges by minmax"
    assert lines["8-bit"] == "23 values, 14 kernels"
    assert "that of float on " in lines["top"]
    assert lines["written"] == str(file)
    assert Quantization.read(file).kept == ("layer3",)

    status, output, _ = command("resnet-spec", "show", SPEC, "--quantization", str(file))
    assert status == 0
    rows = {line.split()[0]: line.split() for line in output.splitlines()}
    assert rows["relu"][3] == "-128"
    assert rows["layer3.2.relu2"] == ["layer3.2.relu2", "relu", *rows["layer3.2.relu2"][2:]]
    assert rows["layer3.0.conv1"] == ["layer3.0.conv1", "conv2d"]

    weights = str(folder / "w.safetensors")
    options = ["--weights", weights, "--quantization", str(file), "--output", str(tmp_path / "net.pt2")]
    status, output, errors = command("resnet-build", SPEC, "--backend", "torch", *options)
    assert status == 0, errors
    assert (tmp_path / "net.pt2").exists()

    # It is replaced only by request.
    status, _, errors = quantize(command, folder, "-o", str(file))
    assert status == 2
    assert "--force" in errors
    assert Quantization.read(file).kept == ("layer3",)


def test_json_has_the_grids_and_the_loss(command: Command, folder: Path, tmp_path: Path) -> None:
    status, output, errors = quantize(command, folder, "-o", str(tmp_path / "q.json"), "--json", "--method", "mse")
    assert status == 0, errors
    found = json.loads(output)
    assert found["quantization"] == json.loads((tmp_path / "q.json").read_text())
    assert found["loss"]["images"] == 4
    assert list(found["loss"]["decibels"]) == list(found["quantization"]["values"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "none"], "none: no such folder"),
        (["--images", "w.safetensors"], "is neither a folder nor a .npy file"),
        (["--images", "whole.npy"], "is an array of int64, not of floats"),
        (["--images", "broken.npy"], "is not an array"),
        (["--images", "empty"], "empty: has no files"),
        (["--images", "other.npy"], "the images are an array [4, 1, 32, 32], not (batch, 3, 32, 32)"),
        (["--images", "flat.npy"], "the images are an array [4, 3, 0, 32], without a number"),
        (["--preprocessing", "{resize: 32}"], "preprocessing is of photographs"),
        (["--keep", "layer9"], "no node or stage of cifar/resnet20 matches 'layer9'"),
        (["--keep", "*"], "has no operation that is left to be quantized"),
    ],
    ids=str,
)
def test_mistakes_are_said_in_a_line(
    command: Command, folder: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    np.save("whole.npy", np.zeros((4, 3, 32, 32), "int64"))
    np.save("other.npy", np.zeros((4, 1, 32, 32)))
    np.save("flat.npy", np.zeros((4, 3, 0, 32)))
    Path("broken.npy").write_bytes(b"\x93NUMPY broken")
    Path("empty").mkdir(exist_ok=True)
    status, output, errors = quantize(command, folder, "-o", "q.json", *options)
    assert (status, output) == (2, "")
    assert message in errors
    assert "Traceback" not in errors
    assert not Path("q.json").exists()


def test_weights_are_needed(command: Command, folder: Path) -> None:
    status, _, errors = command("resnet-spec", "quantize", SPEC, "--images", str(folder), "-o", "q.json")
    assert status == 2
    assert "give --weights" in errors


def test_a_built_file_needs_weights(command: Command, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.json"
    assert quantize(command, folder, "-o", str(file), "--compare", "0")[0] == 0
    status, _, errors = command("resnet-build", SPEC, "--backend", "torch", "--quantization", str(file))
    assert status == 2
    assert "--quantization needs --weights" in errors


def test_a_file_that_is_none_is_refused_before_anything_is_built(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "q.json"
    file.write_text("{}")
    for arguments in (
        ["resnet-build", SPEC, "--backend", "torch"],
        ["resnet-spec", "parity", SPEC],
        ["resnet-spec", "show", SPEC],
        ["resnet-spec", "bench", SPEC],
    ):
        status, output, errors = command(*arguments, "--quantization", str(file))
        assert status == 2, arguments
        assert "needs 'network'" in errors
        assert output == ""
