"""MXNet's parameters are read without it.

``made/make_mxnet.py`` made the files with mxnet 1.9.1. Records from before version 2 and bfloat16, which it no longer
writes, are written here from the format's specification.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec.weights.formats.mxnet import DTYPES, VERSION_1, VERSION_2, VERSION_3, read_mxnet
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[..., list[str]]

MADE = Path(__file__).parents[1] / "made"

VALUES = np.arange(6).reshape(2, 3)


def record(array: Any, code: int, version: int | None = VERSION_2, shape: tuple[int, ...] | None = None) -> bytes:
    """An array as MXNet writes it, in the format of a version; None is before version 1."""
    shape = np.shape(array) if shape is None else shape
    place_and_type = struct.pack("<iii", 1, 0, code)
    if version is None:
        return struct.pack(f"<I{len(shape)}I", len(shape), *shape) + place_and_type + array.tobytes()
    storage = struct.pack("<i", 0) if version != VERSION_1 else b""
    head = struct.pack("<I", version) + storage + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
    return head + place_and_type + array.tobytes()


def file(path: Path, records: list[bytes], names: list[str]) -> Path:
    body = struct.pack("<QQQ", 0x112, 0, len(records)) + b"".join(records) + struct.pack("<Q", len(names))
    path.write_bytes(body + b"".join(struct.pack("<Q", len(name.encode())) + name.encode() for name in names))
    return path


def test_every_type_that_the_library_wrote() -> None:
    checkpoint = read_checkpoint(MADE / "mxnet_types.params")

    assert list(checkpoint.tensors) == [
        "float32", "float64", "float16", "uint8", "int32", "int8", "int64", "prefixed", "statistic",
    ]  # fmt: skip
    for name, array in list(checkpoint.tensors.items())[:7]:
        assert array.dtype == name
        assert np.array_equal(array, VALUES)
    # The marks arg: and aux: of a network that was saved with its symbol are no part of the names.
    assert checkpoint.tensors["prefixed"].tolist() == [1, 1, 1]
    assert checkpoint.tensors["statistic"].tolist() == [0, 0]
    assert not checkpoint.widened


def test_scalars_empty_arrays_and_booleans_of_the_numpy_interface() -> None:
    tensors = read_checkpoint(MADE / "mxnet_numpy.params").tensors

    assert (tensors["scalar"].shape, float(tensors["scalar"])) == ((), 2.5)
    assert tensors["empty"].shape == (0, 3)
    assert tensors["bool"].tolist() == [True, False]


@pytest.mark.parametrize("version", [None, VERSION_1, VERSION_2, VERSION_3])
def test_every_version_of_a_record(tmp_path: Path, version: int | None) -> None:
    path = file(tmp_path / "old.params", [record(VALUES.astype("<f4"), 0, version)], ["arg:weight"])
    checkpoint = read_checkpoint(path)

    assert list(checkpoint.tensors) == ["weight"]
    assert np.array_equal(checkpoint.tensors["weight"], VALUES.astype("float32"))
    assert checkpoint.tensors["weight"].flags.writeable


@pytest.mark.parametrize("code", DTYPES)
def test_every_type_of_the_format(tmp_path: Path, code: int) -> None:
    array = VALUES.astype(DTYPES[code])
    if code == 12:
        array = np.array([0x3F80, 0xC000], "<u2")
    checkpoint = read_mxnet(file(tmp_path / "x.params", [record(array, code)], ["a"]))

    if code == 12:
        assert checkpoint.tensors["a"].tolist() == [1, -2]
        assert checkpoint.widened == {"a"}
    else:
        assert checkpoint.tensors["a"].dtype == array.dtype
        assert np.array_equal(checkpoint.tensors["a"], array)


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes((MADE / "mxnet_types.params").read_bytes())

    assert len(read_checkpoint(path).tensors) == 9


ONE = record(np.ones(2, "<f4"), 0)


@pytest.mark.parametrize(
    ("records", "names", "said"),
    [
        ([ONE], [], "its arrays have no names; save a dictionary, or a block by save_parameters"),
        ([ONE], ["a", "b"], "it has 1 arrays and 2 names"),
        ([ONE, ONE], ["arg:a", "aux:a"], "two arrays have one name"),
        ([struct.pack("<Ii", VERSION_2, 1)], ["a"], "array 0 is sparse (storage type 1), which is not supported"),
        ([record(np.ones(2, "<f4"), 99)], ["a"], "array 0 has the type 99, which is not supported"),
        ([record(np.ones(2, "<f4"), 0, shape=(2**40,))], ["a"], "it ends at byte"),
        ([record(np.ones(2, "<f4"), 0, shape=(2**62, 2**62))], ["a"], "it ends at byte"),
        ([record(np.ones(2, "<f4"), 0, shape=(-2,))], ["a"], "'array 0' has the shape [-2]"),
        ([record(np.ones(2, "<f4"), 0, shape=(1,) * 33)], ["a"], "array 0 has 33 axes"),
        ([record(np.ones(0, "<f4"), 0, shape=(0, 2**63 - 1, 2**63 - 1))], ["a"], "'array 0': "),
        ([ONE], ["x" * 5000], "it has a name of 5,000 bytes"),
    ],
)
def test_what_is_not_read_is_refused(
    tmp_path: Path, lines: Lines, records: list[bytes], names: list[str], said: str
) -> None:
    path = file(tmp_path / "x.params", records, names)
    (line,) = lines(lambda: read_mxnet(path))

    assert line.startswith((f"{path}: {said}", f"{path}: is not a complete file of MXNet's parameters ({said}"))


def test_what_the_library_wrote_and_is_not_read(lines: Lines) -> None:
    sparse, unnamed = MADE / "mxnet_sparse.params", MADE / "mxnet_unnamed.params"

    assert lines(lambda: read_mxnet(sparse)) == [
        f"{sparse}: array 0 is sparse (storage type 2), which is not supported"
    ]
    assert lines(lambda: read_mxnet(unnamed))[0].startswith(f"{unnamed}: its arrays have no names")


def test_a_network_that_was_not_initialized_is_refused_by_name(tmp_path: Path, lines: Lines) -> None:
    empty = struct.pack("<Iii", VERSION_2, 0, 0)
    said = "no values: the network was not initialized before it was saved"

    path = file(tmp_path / "x.params", [ONE, empty], ["a", "b"])
    assert lines(lambda: read_mxnet(path)) == [f"{path}: b has {said}"]
    path = file(tmp_path / "x.params", [empty, ONE, empty], ["a", "b", "c"])
    assert lines(lambda: read_mxnet(path)) == [f"{path}: a and 1 more arrays have {said}"]


@pytest.mark.parametrize("count", [2**63, 2**40, 10])
def test_more_records_than_a_file_has_room_for(tmp_path: Path, lines: Lines, count: int) -> None:
    path = tmp_path / "x.params"
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, count) + bytes(8))

    assert f"it claims {count:,} records, for which it is too short" in lines(lambda: read_mxnet(path))[0]


def test_bytes_after_the_end_are_refused(tmp_path: Path, lines: Lines) -> None:
    path = file(tmp_path / "x.params", [ONE], ["a"])
    path.write_bytes(path.read_bytes() + b"\0")

    assert "it goes on after byte" in lines(lambda: read_mxnet(path))[0]
