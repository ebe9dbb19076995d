"""Broken and hostile files are reported in a line or more, run nothing, and leave nothing behind."""

from __future__ import annotations

import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_spec import Graph, WeightsError, initialize, read_weights
from resnet_spec.weights.reading import read_checkpoint
from tests.needs import posix

Lines = Callable[..., list[str]]
Command = Callable[..., Any]

TINY = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    stem: {conv: {conv2d: {channels: 2, kernel: 3, stride: 2}}}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""


@pytest.fixture
def tiny(lower: Callable[..., Graph]) -> Graph:
    return lower(TINY)


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path) -> Iterator[None]:
    """Whatever is read, no file changes that the test did not make."""
    yield
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert not (tmp_path / "out.safetensors").exists()


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


def convert(command: Command, path: Path, *options: str) -> Any:
    """What the command makes of a file: the tiny spec is in the folder that it runs in."""
    return command("resnet-spec", "convert", "spec.yaml", path, path.parent / "out.safetensors", *options)


def headed(path: Path, header: Any, body: bytes = b"\0" * 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


# -- safetensors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenths", range(10))
def test_a_truncated_file_is_refused(tiny: Graph, file: Path, command: Command, tenths: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * tenths // 10])
    done = convert(command, file)

    assert (done.status, done.out) == (2, "")
    said = "is not a whole safetensors file (" if tenths else "is an empty file"
    assert done.err.startswith(f"{file}: {said}")
    assert len(done.err.splitlines()) == 1


def test_a_file_with_something_behind_it_is_refused(tiny: Graph, file: Path, lines: Lines) -> None:
    file.write_bytes(file.read_bytes() + b"\0")

    assert lines(lambda: read_weights(file, tiny))[0].startswith(f"{file}: is not a whole safetensors file (")


def flipped(tiny: Graph, path: Path, places: range | list[int], masks: tuple[int, ...]) -> tuple[int, int]:
    """How many changes of a byte were refused, and how many made no difference; anything else fails."""
    content, wanted = path.read_bytes(), initialize(tiny)
    refused = harmless = 0
    for place in places:
        for mask in masks:
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
    refused, harmless = flipped(tiny, plain, range(8 + length), (0x01, 0x0F, 0x20, 0x80, 0xFF))

    assert refused > 50 * harmless


def test_bytes_flipped_in_the_metadata_are_refused_or_make_no_difference(tiny: Graph, file: Path) -> None:
    length = int.from_bytes(file.read_bytes()[:8], "little")
    refused, harmless = flipped(tiny, file, random.Random(0).sample(range(8 + length), 200), (0x01, 0x0F))

    assert refused
    assert refused + harmless == 400


@pytest.mark.parametrize(
    "content",
    [b"\0" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 100, struct.pack("<Q", 2**63) + b"{}", b"\1text" * 100],
)
def test_what_is_not_safetensors_is_rejected(tiny: Graph, tmp_path: Path, lines: Lines, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)

    assert lines(lambda: read_weights(path, tiny))[0].startswith(f"{path}: is not a whole safetensors file (")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": 32, "shape": [2], "data_offsets": [0, 8]}},
        {"a": ENTRY, "b": ENTRY},
        {"a": ENTRY, "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": ENTRY, "__metadata__": {"key": 1}},
        {"a": ENTRY, "__metadata__": {"key": {"nested": "deep"}}},
        {"a": []},
        [],
        b"\xff\xfe{\0}\0",
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": "12", "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}},
        {"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
        b'{"a":' + b"[" * 100_000,
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}',
        b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[1' + b"0" * 5000 + b'],"data_offsets":[0,8]}}',
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, lines: Lines, header: Any) -> None:
    path = headed(tmp_path / "x.safetensors", header)
    (said,) = lines(lambda: read_checkpoint(path))

    assert said.startswith(f"{path}: is not a whole safetensors file (")
    assert len(said) < 400


def test_a_key_that_is_there_twice_is_one_tensor_or_refused(tmp_path: Path) -> None:
    """Whatever the library makes of it, both readings of the header are the same."""
    entry = json.dumps(ENTRY).encode()
    path = headed(tmp_path / "x.safetensors", b'{"a":' + entry + b',"a":' + entry + b"}")
    try:
        tensors = read_checkpoint(path).tensors
    except WeightsError:
        return
    assert {name: array.shape for name, array in tensors.items()} == {"a": (2,)}


def test_a_tensor_name_sends_nothing_to_the_terminal(tiny: Graph, plain: Path, command: Command) -> None:
    save_file({"\x1b]0;title\x07.weight": np.zeros(1, "float32"), **initialize(tiny)}, plain)
    done = convert(command, plain)

    assert done.status == 2
    assert r"\x1b]0;title\x07" in done.err
    assert all(line.isprintable() for line in done.err.splitlines())


# -- an index of parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        "../{name}",
        "/etc/passwd",
        "{folder}/outside.safetensors",
        "./inside.safetensors",
        "below/inside.safetensors",
        "..",
        ".",
        "",
        "link.safetensors",
        "chain.safetensors",
        "inside.safetensors/../../outside.safetensors",
    ],
)
def test_a_part_that_lies_elsewhere_is_refused(tmp_path: Path, lines: Lines, part: str) -> None:
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    for path in (tmp_path / "outside.safetensors", folder / "inside.safetensors", folder / "below/inside.safetensors"):
        save_file({"a": np.zeros(1, "float32")}, path)
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "chain.safetensors").symlink_to("link.safetensors")
    part = part.format(name="outside.safetensors", folder=tmp_path)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": part}}))
    (said,) = lines(lambda: read_checkpoint(folder))

    missing = f"its part {part!r} is missing"
    refused = f"refused: its part {part!r} lies outside its folder"
    assert said == f"{path}: {missing if part in ('..', '.', '') else refused}"


@posix
@pytest.mark.parametrize("part", ["a\0b", "\ud800", "x" * 5000, "loop.safetensors", "pipe.safetensors", "folder"])
def test_a_part_that_is_not_a_file_is_missing(tmp_path: Path, lines: Lines, part: str) -> None:
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": part}}))

    assert lines(lambda: read_checkpoint(path)) == [f"{path}: its part {part!r} is missing"]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": ["x"]}}',
        '{"weight_map": null}',
        '{"weight_map": ' + "[" * 100_000,
        '{"a": ' * 100_000,
        '{"weight_map": {"a": 1' + "0" * 5000 + "}}",
        '{"weight_map": "\udcff"}',
    ],
)
def test_what_is_not_an_index_is_refused(tmp_path: Path, lines: Lines, text: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    (said,) = lines(lambda: read_checkpoint(path))

    assert said.startswith(f"{path}: is not an index of shards (")
    assert len(said) < 400


def test_an_index_that_is_too_long_is_not_read(tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_spec.weights.formats.safetensors.MAX_INDEX", 10)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map": {}}')

    assert "too long for an index" in lines(lambda: read_checkpoint(path))[0]


# -- what is not a file ---------------------------------------------------------------------------------------------


@posix
def test_what_is_not_a_file_is_reported_without_waiting_for_it(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name, said in {
        "pipe.safetensors": "is not a regular file",
        "loop": "no such file",
        "dangling": "no such file",
        "no.safetensors": "no such file",
        "folder": "is a folder without weights",
        "x" * 300: "no such file",
        "tiny.safetensors/x": "no such file",
    }.items():
        path = tmp_path / name
        assert lines(lambda path=path: read_weights(path, tiny)) == [f"{path}: {said}"]
    assert lines(lambda: read_weights("/dev/zero", tiny)) == ["/dev/zero: is not a regular file"]


def test_a_folders_weights_that_are_a_link_out_of_it_are_refused(tiny: Graph, plain: Path, lines: Lines) -> None:
    folder = plain.parent / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(plain)

    assert lines(lambda: read_weights(folder, tiny)) == [
        f"{folder}: refused: its model.safetensors is a link out of the folder"
    ]
    # A link that the user names is as good as what it leads to.
    assert same(read_weights(folder / "model.safetensors", tiny), initialize(tiny))


def test_an_ending_that_no_backend_reads_is_reported(
    tiny: Graph, tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_spec.backend.registry.readers", lambda: {".pth": "torch"})
    for name, shown in (("x.gguf", ".gguf"), ("x", "such")):
        path = tmp_path / name
        path.write_bytes(b"\xff")
        (said,) = lines(lambda path=path: read_weights(path, tiny))
        assert said.startswith(f"{path}: no installed backend reads {shown} files (known: ")


# -- tensors of another network ----------------------------------------------------------------------------------


def test_equal_names_with_other_shapes_are_refused(tiny: Graph, plain: Path, command: Command) -> None:
    save_file({name: np.zeros((*array.shape, 2), "float32") for name, array in initialize(tiny).items()}, plain)
    done = convert(command, plain)

    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"{plain}: not the 3 tensors of tiny (3 mismatched)",
        "conv.weight: has shape [2, 3, 3, 3, 2], not [2, 3, 3, 3]",
        "fc.weight: has shape [2, 2, 2], not [2, 2]",
        "fc.bias: has shape [2, 2], not [2]",
        # Its kernels are those of a network for volumes.
        f"`resnet-spec identify {plain}` names the network that fits it",
    ]


# -- numbers -----------------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_reported_and_refused_where_asked_for(
    tiny: Graph, plain: Path, command: Command
) -> None:
    arrays = initialize(tiny)
    arrays["fc.weight"][0] = np.nan, np.inf
    save_file(arrays, plain)
    refused = convert(command, plain, "--check-finite")
    target = plain.parent / "out.safetensors"

    assert (refused.status, refused.out) == (2, "")
    assert refused.err.splitlines() == [
        f"{plain}: not all numbers are finite",
        "fc.weight: 1 of 4 elements are NaN, 1 infinite",
    ]
    assert not target.exists()

    done = convert(command, plain)
    assert (done.status, done.out) == (0, f"{target}: 3 tensors of tiny\n")
    assert done.err == f"{plain}: fc.weight: 1 of 4 elements are NaN, 1 infinite\n"
    target.unlink()


def test_numbers_of_another_kind_are_refused(tiny: Graph, plain: Path, lines: Lines) -> None:
    save_file({name: array.astype("int32") for name, array in initialize(tiny).items()}, plain)

    assert lines(lambda: read_weights(plain, tiny, adapt=["half", "classes"]))[1:] == [
        f"{name}: holds int32, not floating-point numbers" for name in initialize(tiny)
    ]


def test_a_name_without_end_is_refused(tiny: Graph, plain: Path, lines: Lines) -> None:
    save_file({**initialize(tiny), "a." * 500_000: np.zeros(1, "float32")}, plain)

    assert lines(lambda: read_weights(plain, tiny)) == [
        f"{plain}: refused: the name of a tensor is longer than 4,096 characters"
    ]


# -- pickles -----------------------------------------------------------------------------------------------------

EVIL = """
    import os, pickle, sys, zipfile
    import numpy as np
    class Evil:
        def __reduce__(self):
            return os.system, ("touch executed",)
    payload = pickle.dumps({"fc.weight": Evil(), "fc.bias": np.zeros(1000, "float32")}, protocol=2)
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
            missing = {str(problem).removesuffix(": missing") for problem in error.problems}
            assert "fc.weight" in missing and "fc.bias" not in missing
    print(os.path.exists("executed"))
    pickle.loads(payload)
    print(os.path.exists("executed"))
"""


@pytest.mark.slow
def test_a_pickle_that_would_execute_code_does_not(python: Callable[..., Any], tmp_path: Path) -> None:
    done = python(EVIL)
    *said, executed, could_have_been = done.out.splitlines()

    assert (executed, could_have_been) == ("False", "True")
    assert [line.partition(":")[0] for line in said if ".pth: " in line] == ["bare.pth", "zipped.pth"]
    assert done.status == 0
    assert zipfile.is_zipfile(tmp_path / "zipped.pth")
