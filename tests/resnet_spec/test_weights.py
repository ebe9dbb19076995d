"""Weights files are read and written strictly, and whatever is wrong with one is told by name."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from resnet_spec import Graph, WeightsError, initialize, load, read_weights, weights, write_weights
from resnet_spec.checking import check_weights
from resnet_spec.checkpoints.safetensors_files import read_safetensors

Lower = Callable[..., Graph]
Lines = Callable[..., list[str]]

TINY = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    stem:
      conv: {conv2d: {channels: 4, kernel: 3, bias: true}}
      bn: {batch_norm: {epsilon: 0, momentum: 0.1, running_variance: biased}}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""


@pytest.fixture
def tiny(lower: Lower) -> Graph:
    return lower(TINY)


@pytest.fixture
def file(tiny: Graph, tmp_path: Path) -> Path:
    """A canonical weights file of the tiny network."""
    path = tmp_path / "tiny.safetensors"
    write_weights(path, tiny, initialize(tiny))
    return path


@pytest.fixture
def plain(tiny: Graph, tmp_path: Path) -> Path:
    """The same tensors as another library would write them, with nothing said of the architecture."""
    path = tmp_path / "plain.safetensors"
    save_file(initialize(tiny), path)
    return path


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


# -- there and back ----------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tiny: Graph, file: Path) -> None:
    assert same(read_weights(file, tiny), initialize(tiny))


def test_a_file_says_which_architecture_it_is_for(tiny: Graph, file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()

    assert metadata["resnet_spec.fingerprint"] == tiny.fingerprint
    assert Graph.from_json(metadata["resnet_spec.graph"]) == tiny


def test_a_plain_file_is_read_in_the_graphs_order(tiny: Graph, plain: Path) -> None:
    assert list(read_weights(plain, tiny)) == [parameter.name for parameter in tiny.parameters()]


def test_a_file_serves_another_input_size(lower: Lower, tiny: Graph, file: Path) -> None:
    assert same(read_weights(file, lower(TINY.replace("height: 8", "height: 99"))), initialize(tiny))


def test_changing_an_array_that_was_read_leaves_the_file_alone(tiny: Graph, file: Path) -> None:
    before = file.read_bytes()
    arrays = read_weights(file, tiny)
    arrays["fc.bias"][:] = 7

    assert set(arrays["fc.bias"]) == {7.0}
    assert file.read_bytes() == before


def test_any_floating_point_type_is_read_as_it_stands(tiny: Graph, plain: Path) -> None:
    arrays = initialize(tiny)
    for dtype in ("float64", "float16"):
        save_file({name: array.astype(dtype) for name, array in arrays.items()}, plain)
        assert {array.dtype for array in read_weights(plain, tiny).values()} == {np.dtype(dtype)}


def test_torchs_count_of_batches_is_optional(tiny: Graph, plain: Path) -> None:
    save_file({**initialize(tiny), "bn.num_batches_tracked": np.array(3)}, plain)

    assert same(read_weights(plain, tiny), initialize(tiny))


def test_arrays_that_are_not_contiguous_are_written_as_they_look(tiny: Graph, tmp_path: Path) -> None:
    arrays = initialize(tiny)
    arrays["conv.weight"] = np.asfortranarray(arrays["conv.weight"])
    arrays["fc.weight"] = arrays["fc.weight"][:, ::-1]
    write_weights(tmp_path / "x.safetensors", tiny, arrays)

    assert same(read_weights(tmp_path / "x.safetensors", tiny), arrays)


# -- what does not fit -------------------------------------------------------------------------------------------


def test_every_missing_unexpected_and_misshapen_tensor_is_listed(tiny: Graph, plain: Path, lines: Lines) -> None:
    arrays: dict[str, Any] = initialize(tiny)
    arrays["fc.wieght"] = arrays.pop("fc.weight")
    del arrays["bn.running_mean"]
    arrays["extra"] = np.zeros(1)
    arrays["conv.weight"] = arrays["conv.weight"].transpose(2, 3, 1, 0)
    arrays["fc.bias"] = arrays["fc.bias"].astype("int64")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, plain)

    assert lines(lambda: read_weights(plain, tiny)) == [
        f"{plain}: not the 8 tensors of tiny (2 missing, 2 unexpected, 2 not as they should be)",
        "bn.running_mean: missing",
        "fc.weight: missing; did you mean 'fc.wieght'?",
        "extra: unexpected",
        "fc.wieght: unexpected; did you mean 'fc.weight'?",
        "conv.weight: has shape [3, 3, 3, 4], not [4, 3, 3, 3]",
        "fc.bias: holds int64, not floating-point numbers",
    ]


def test_the_weights_of_another_network_are_listed_without_guessing(tiny: Graph, lines: Lines) -> None:
    said = lines(lambda: check_weights(tiny, initialize(load("resnet18").to_graph()), "x"))

    assert said[0] == "x: not the 8 tensors of tiny (6 missing, 100 unexpected, 2 not as they should be)"
    assert len(said) == 1 + 6 + 100 + 2
    assert not [line for line in said if "did you mean" in line]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kernel: 3", "kernel: 5"), "'conv' differs in 'kernel': (3, 3) in the file, (5, 5) in the spec"),
        (("bias: true", "bias: false"), "'conv' differs in 'bias': True in the file, False in the spec"),
        (("epsilon: 0", "epsilon: 1e-3"), "'bn' differs in 'epsilon': 0.0 in the file, 0.001 in the spec"),
        (("bn:", "norm:"), "the file has 'bn' where the spec has 'norm'"),
        (("features: 2", "features: 3"), "'fc' differs in 'features': 2 in the file, 3 in the spec; --adapt classes"),
        (("features: 2}}", "features: 2}}, act: relu"), "'act' is only in the spec"),
        ((", flat: flatten, fc: {linear: {features: 2}}", ""), "'flat' is only in the file"),
        (
            ("pool: global_avg_pool", "pool: {max_pool2d: {kernel: 6}}"),
            "'pool' differs in 'op': global_avg_pool in the file, max_pool2d in the spec",
        ),
        (
            ("input: {channels: 3", "outputs: [fc, bn]\n    input: {channels: 3"),
            "the outputs differ: fc in the file, fc and bn in the spec",
        ),
    ],
)
def test_a_file_for_another_architecture_names_the_first_node_that_differs(
    lower: Lower, tiny: Graph, file: Path, lines: Lines, change: tuple[str, str], said: str
) -> None:
    other = lower(TINY.replace(*change).replace("name: tiny", "name: other"))

    assert lines(lambda: read_weights(file, other)) == [
        f"{file}: was written for another architecture (tiny, not other): {said}"
    ]


def test_a_file_for_another_architecture_that_does_not_say_which_is_refused(
    lower: Lower, tiny: Graph, plain: Path, lines: Lines
) -> None:
    save_file(initialize(tiny), plain, {"resnet_spec.fingerprint": "0" * 64})

    assert lines(lambda: read_weights(plain, tiny)) == [
        f"{plain}: was written for another architecture than tiny (its fingerprint differs)"
    ]


# -- what is no file of weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tenths", range(10))
def test_a_truncated_file_is_refused(tiny: Graph, file: Path, lines: Lines, tenths: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * tenths // 10])
    (said,) = lines(lambda: read_weights(file, tiny))

    assert said.startswith(f"{file}: is not a whole safetensors file (")


def test_a_file_with_something_behind_it_is_refused(tiny: Graph, file: Path, lines: Lines) -> None:
    file.write_bytes(file.read_bytes() + b"\0")

    assert lines(lambda: read_weights(file, tiny))[0].startswith(f"{file}: is not a whole safetensors file (")


def flipped(tiny: Graph, path: Path, places: range | list[int]) -> tuple[int, int]:
    """How many changes of a byte were refused, and how many made no difference; anything else fails."""
    content, wanted = path.read_bytes(), initialize(tiny)
    refused = harmless = 0
    for place in places:
        for mask in (0x01, 0x0F):
            changed = bytearray(content)
            changed[place] ^= mask
            path.write_bytes(changed)
            try:
                arrays = read_weights(path, tiny)
            except WeightsError:
                refused += 1
            else:
                assert same(arrays, wanted)
                harmless += 1
    return refused, harmless


def test_bytes_flipped_in_the_header_are_refused_or_make_no_difference(tiny: Graph, plain: Path) -> None:
    length = int.from_bytes(plain.read_bytes()[:8], "little")
    refused, harmless = flipped(tiny, plain, range(8 + length))

    assert refused > 100 * harmless


def test_bytes_flipped_in_the_metadata_are_refused_or_make_no_difference(tiny: Graph, file: Path) -> None:
    length = int.from_bytes(file.read_bytes()[:8], "little")
    refused, harmless = flipped(tiny, file, random.Random(0).sample(range(8 + length), 200))

    assert refused
    assert refused + harmless == 400


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 100, (2**63).to_bytes(8, "little") + b"{}", b"text" * 100],
)
def test_what_is_no_safetensors_is_refused(tiny: Graph, tmp_path: Path, lines: Lines, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)

    assert lines(lambda: read_weights(path, tiny))[0].startswith(f"{path}: is not a whole safetensors file (")


def test_a_header_that_lies_about_sizes_is_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x.safetensors"
    for entry in (
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "X", "shape": [1], "data_offsets": [0, 4]},
        {"shape": [1]},
    ):
        header = json.dumps({"fc.bias": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
        assert lines(lambda: read_weights(path, tiny))[0].startswith(f"{path}: is not a whole safetensors file (")


def test_a_type_that_is_not_read_yet_is_told(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x.safetensors"
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)

    assert lines(lambda: read_safetensors(path)) == [f"{path}: a is stored as BF16, which is not read yet"]


def test_an_empty_tensor_is_read(tmp_path: Path) -> None:
    save_file({"a": np.zeros((0, 3), "float32"), "b": np.ones(2, "float32")}, tmp_path / "x.safetensors")
    arrays, _ = read_safetensors(tmp_path / "x.safetensors")

    assert arrays["a"].shape == (0, 3)
    assert list(arrays["b"]) == [1, 1]


def test_a_missing_file_and_a_folder_are_told(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    missing, folder, long = tmp_path / "no.safetensors", tmp_path, tmp_path / ("x" * 300 + ".safetensors")

    assert lines(lambda: read_weights(missing, tiny)) == [f"{missing}: no such file"]
    assert lines(lambda: read_weights(folder, tiny)) == [f"{folder}: is a folder"]
    assert lines(lambda: read_weights(long, tiny)) == [f"{long}: no such file"]


def test_an_ending_that_no_backend_reads_is_told(
    tiny: Graph, tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_spec.backends.readers", lambda: {".pth": "torch"})
    for name, shown in (("x.caffemodel", ".caffemodel"), ("x", "such")):
        path = tmp_path / name
        path.write_text("")
        assert lines(lambda path=path: read_weights(path, tiny)) == [
            f"{path}: no installed backend reads {shown} files (known: .h5, .keras, .pth, .safetensors)"
        ]


# -- writing -----------------------------------------------------------------------------------------------------


def test_arrays_that_do_not_fit_are_not_written(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = initialize(tiny)
    del arrays["fc.bias"]

    assert lines(lambda: write_weights(tmp_path / "x.safetensors", tiny, arrays)) == [
        "the arrays: not the 8 tensors of tiny (1 missing)",
        "fc.bias: missing",
    ]
    assert not list(tmp_path.glob("x*"))


def test_only_the_canonical_ending_is_written(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x.pth"

    assert lines(lambda: write_weights(path, tiny, initialize(tiny))) == [
        f"{path}: the canonical weights file ends in .safetensors"
    ]


def test_an_existing_file_is_kept_unless_forced(tiny: Graph, file: Path, lines: Lines) -> None:
    before = file.read_bytes()

    assert lines(lambda: write_weights(file, tiny, initialize(tiny, 1))) == [
        f"{file} exists already; --force replaces it"
    ]
    assert file.read_bytes() == before
    write_weights(file, tiny, initialize(tiny, 1), force=True)
    assert same(read_weights(file, tiny), initialize(tiny, 1))


def test_a_failure_while_writing_leaves_the_old_file(tiny: Graph, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(weights, "write_safetensors", fail)

    with pytest.raises(Exception, match="No space left on device"):
        write_weights(file, tiny, initialize(tiny, 1), force=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.glob("*tiny*")] == ["tiny.safetensors"]


# -- pickles -----------------------------------------------------------------------------------------------------

EVIL = """
    import os, pickle, sys, zipfile
    class Evil:
        def __reduce__(self):
            return os.system, ("touch executed",)
    payload = pickle.dumps({"fc.weight": Evil()}, protocol=2)
    open("bare.pth", "wb").write(payload)
    with zipfile.ZipFile("zipped.pth", "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3")
    from resnet_spec import WeightsError, load, read_weights
    graph = load("resnet18").to_graph()
    for path in ("bare.pth", "zipped.pth"):
        try:
            read_weights(path, graph)
        except WeightsError as error:
            print(error)
    print(os.path.exists("executed"))
    pickle.loads(payload)
    print(os.path.exists("executed"))
"""


def test_a_pickle_that_would_execute_code_is_refused(python: Callable[..., Any], tmp_path: Path) -> None:
    done = python(EVIL)
    *said, executed, could_have_been = done.out.splitlines()

    assert (executed, could_have_been) == ("False", "True")
    assert [line.partition(":")[0] for line in said] == ["bare.pth", "zipped.pth"]
    assert done.status == 0
    assert zipfile.is_zipfile(tmp_path / "zipped.pth")
