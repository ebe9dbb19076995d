"""``convert`` as its users meet it: what is printed where, and the status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resnet_spec import Graph, initialize, load, read_weights, write_weights
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.weights.naming import tables

Command = Callable[..., Any]


@pytest.fixture
def file(small: Graph, tmp_path: Path) -> Path:
    """Weights of the small network, whose spec is in the folder that the test runs in."""
    path = tmp_path / "in.safetensors"
    save_file(initialize(small), path)
    return path


@pytest.fixture
def convert(command: Command, file: Path, tmp_path: Path) -> Command:
    """Convert that file with more arguments."""
    return lambda *arguments: command(
        "resnet-spec", "convert", "spec.yaml", file, tmp_path / "out.safetensors", *arguments
    )


# -- convert -----------------------------------------------------------------------------------------------------


def test_a_conversion_reports_what_was_written(convert: Command, small: Graph, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"

    assert convert() == (0, f"{target}: 43 tensors of spec\n", "")
    assert len(initialize(small)) == 43
    assert np.array_equal(read_weights(target, small)["fc.bias"], initialize(small)["fc.bias"])


def test_a_conversion_tells_machines_what_was_written(
    convert: Command, file: Path, small: Graph, tmp_path: Path
) -> None:
    done = convert("--json")

    assert (done.status, json.loads(done.out)) == (
        0,
        {
            "name": "spec",
            "fingerprint": small.fingerprint,
            "tensors": 43,
            "input": str(file),
            "output": str(tmp_path / "out.safetensors"),
            "format": "safetensors",
        },
    )


def test_adaptations_are_asked_for_and_reported(convert: Command, file: Path, tmp_path: Path) -> None:
    overrides = ("--set", "head.fc.linear.features=7", "--set", "input.channels=1")
    refused = convert(*overrides, "--adapt", "classes")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.splitlines()[1:] == [
        f"{file}: not the 43 tensors of spec (1 mismatched)",
        "conv1.weight: has shape [8, 3, 3, 3], not [8, 1, 3, 3]",
        "the file is for red, green and blue; --adapt channels derives the kernels of other channels from theirs",
    ]
    assert not (tmp_path / "out.safetensors").exists()

    done = convert(*overrides, "--adapt", "classes", "--adapt", "channels")
    assert (done.status, done.err.splitlines()) == (
        0,
        [
            "fc.weight, fc.bias: reinitialized at random, since the file has 5 classes, not 7",
            "conv1.weight: summed its kernels for red, green and blue",
        ],
    )


def test_adaptations_are_reported_where_frameworks_are_muted(process: Command, file: Path) -> None:
    done = process(
        "resnet-spec", "convert", "spec.yaml", file, "x.safetensors", "--set", "head=null", "--adapt", "backbone"
    )

    assert (done.status, done.err) == (0, "dropped, since the network has no such layers: fc.bias, fc.weight\n")


def test_what_a_reader_leaves_out_is_reported(convert: Command, small: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Checkpoint(initialize(small), ignored={"optimizer slots": 3}, remarks=("its normalizations are folded",))
    monkeypatch.setattr("resnet_spec.weights.io.read_checkpoint", lambda *_, **options: given)
    done = convert()

    assert [line.partition(": ")[2] for line in done.err.splitlines()] == [
        "skipped optimizer slots (3)",
        "its normalizations are folded",
    ]


def test_averages_that_are_not_there_are_reported(convert: Command, file: Path) -> None:
    assert convert("--ema") == (2, "", f"{file}: holds no exponential moving averages\n")


def test_an_adaptation_that_there_is_not_is_reported(convert: Command) -> None:
    assert convert("--adapt", "clases") == (
        2,
        "",
        "unknown adaptation 'clases'; did you mean 'classes'? (known: half, background, classes, channels, backbone)\n",
    )


def test_half_precision_is_written_and_read_where_asked_for(
    convert: Command, command: Command, small: Graph, tmp_path: Path
) -> None:
    half, single = tmp_path / "out.safetensors", tmp_path / "single.safetensors"
    assert convert("--half").status == 0
    refused = command("resnet-spec", "convert", "spec.yaml", half, single)
    assert (refused.status, refused.err) == (
        2,
        f"{half}: 43 tensors are in half precision; --adapt half accepts them\n",
    )
    done = command("resnet-spec", "convert", "spec.yaml", half, single, "--adapt", "half")
    assert (done.status, done.err) == (0, f"{half}: 43 tensors are in half precision\n")
    assert {array.dtype.name for array in read_weights(single, small).values()} == {"float32"}


def test_double_precision_is_written_where_asked_for(convert: Command, small: Graph, tmp_path: Path) -> None:
    assert convert("--dtype", "float64").status == 0
    assert {a.dtype.name for a in read_weights(tmp_path / "out.safetensors", small).values()} == {"float64"}
    assert convert("--dtype", "float64", "--half", "--force").status == 2


def test_bfloat16_is_written_where_asked_for(convert: Command, tmp_path: Path) -> None:
    assert convert("--dtype", "bfloat16").status == 0
    content = (tmp_path / "out.safetensors").read_bytes()
    entries = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {entry["dtype"] for name, entry in entries.items() if name != "__metadata__"} == {"BF16"}


def test_what_bfloat16_is_not_written_in_is_refused(command: Command, file: Path, tmp_path: Path) -> None:
    done = command("resnet-spec", "convert", "spec.yaml", file, tmp_path / "out.npz", "--dtype", "bfloat16")
    assert (done.status, done.err) == (
        2,
        f"{tmp_path / 'out.npz'}: of the formats only .safetensors is written in bfloat16\n",
    )


def test_counts_of_batches_are_converted(command: Command, small: Graph, tmp_path: Path) -> None:
    counter = {"bn1.num_batches_tracked": np.array(7)}
    save_file({**initialize(small), **counter}, tmp_path / "in.safetensors")
    done = command("resnet-spec", "convert", "spec.yaml", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert done.status == 0
    found = load_file(tmp_path / "out.safetensors")
    assert {name: int(array) for name, array in found.items() if name in counter} == {"bn1.num_batches_tracked": 7}


def test_wrong_targets_are_reported_before_anything_is_read(command: Command, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").write_text("old")
    for target, said in (
        ("there.safetensors", "there.safetensors exists already; --force replaces it"),
        ("nowhere/x.safetensors", "nowhere/x.safetensors: the folder {}/nowhere does not exist"),
        ("there.safetensors/x.safetensors", "{}/there.safetensors does not exist"),
        ("x.caffe", "x.caffe: no installed backend writes caffe"),
        ("x", "x: give the kind of folder"),
    ):
        done = command("resnet-spec", "convert", "resnet18", "in.safetensors", tmp_path / target)
        assert (done.status, done.out) == (2, "")
        assert said.format(tmp_path) in done.err
        assert "in.safetensors: no such file" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]


def test_an_input_that_is_not_there_is_reported(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "in.safetensors"
    done = command("resnet-spec", "convert", "resnet18", source, tmp_path / "out.safetensors")

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"{source}: no such file")


def test_a_file_is_converted_into_itself(convert: Command, command: Command, file: Path, small: Graph) -> None:
    done = command("resnet-spec", "convert", "spec.yaml", file, file, "--force")

    assert (done.status, done.err) == (0, "")
    assert np.array_equal(read_weights(file, small)["fc.weight"], initialize(small)["fc.weight"])


def test_the_libraries_whose_names_are_known_are_listed(command: Command) -> None:
    done = command("resnet-spec", "convert", "--list-names")

    assert (done.status, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == list(tables())
    assert all(len(line) <= 120 for line in done.out.splitlines())


def test_names_are_written_as_asked_for(command: Command, tmp_path: Path) -> None:
    graph, source, target = load("cifar/resnet18").to_graph(), tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    write_weights(source, graph, initialize(graph))
    done = command("resnet-spec", "convert", "cifar/resnet18", source, target, "--names", "sequential")

    assert done.status == 0
    assert "4.0.conv1.weight" in load_file(target)


def test_a_part_of_a_file_is_taken(command: Command, small: Graph, tmp_path: Path) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({f"{p}.{n}": a for i, p in enumerate(("q", "k")) for n, a in initialize(small, i).items()}, source)
    refused = command("resnet-spec", "convert", "spec.yaml", source, target)

    assert refused.status == 2
    assert refused.err.splitlines()[-1].endswith("spec fits 2 parts of the file: choose --take k or --take q")
    assert command("resnet-spec", "convert", "spec.yaml", source, target, "--take", "k").status == 0
    assert np.array_equal(read_weights(target, small)["fc.bias"], initialize(small, 1)["fc.bias"])


# -- build -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_that_are_not_finite_are_reported_by_a_build_and_refused_where_asked_for(
    process: Command, small: Graph, tmp_path: Path
) -> None:
    arrays = initialize(small)
    arrays["bn1.bias"][0] = np.nan
    write_weights(tmp_path / "in.safetensors", small, arrays)
    told = "in.safetensors: bn1.bias: 1 of 8 elements are NaN, 0 infinite"
    build = ("resnet-build", "spec.yaml", "--backend", "torch", "--weights", "in.safetensors")
    done = process(*build)
    assert (done.status, [line for line in done.err.splitlines() if not line.endswith("…")]) == (0, [told])

    refused = process(*build, "--check-finite", "--output", "out.pth")
    assert (refused.status, refused.out) == (2, "")
    assert not (tmp_path / "out.pth").exists()
