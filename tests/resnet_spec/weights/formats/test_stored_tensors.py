"""Tensors are views of the bytes that they share, within their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec.weights.formats.stored_tensors import DTYPES, Storage, Tensor, row_major


def storage(count: int = 6, dtype: str = "float32") -> Storage:
    data = np.arange(count, dtype=dtype).view("uint8")
    return Storage(dtype, data.nbytes, data)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "values"),
    [
        ((2, 3), (3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
        ((2, 2), (2, 1), 2, [[2, 3], [4, 5]]),
        ((4,), (0,), 5, [5, 5, 5, 5]),
        ((), (), 3, 3),
        ((0, 5), (5, 1), 0, []),
        ((2, 0), (1, 1), 100, [[], []]),
    ],
)
def test_a_view_has_the_storages_numbers(shape: Any, strides: Any, offset: int, values: Any) -> None:
    tensor = Tensor().view(storage(), "float32", shape, strides, offset)
    assert tensor.array().tolist() == values
    assert tensor.nbytes == tensor.array().nbytes
    assert tensor.array() is tensor.array()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 3), (4, 1), 0),
        ((2**62,), (1,), 0),
        ((2,) * 33, (0,) * 33, 0),
        ((-1,), (1,), 0),
        ((2,), (-1,), 1),
        ((2,), (1,), -1),
        ((2**63,), (0,), 0),
        ((2,), (1, 1), 0),
        ((True,), (1,), 0),
        ((2.0,), (1,), 0),
        ("2", (1,), 0),
        (2, 1, 0),
        ((2,), (1,), None),
    ],
)
def test_a_view_outside_its_storage_is_an_error(shape: Any, strides: Any, offset: Any) -> None:
    with pytest.raises(ValueError, match=r"tensor|argument"):
        Tensor().view(storage(), "float32", shape, strides, offset)


def test_a_storage_without_numbers_is_an_error() -> None:
    for data in (None, b"\0" * 23, np.zeros(23, "uint8")):
        tensor = Tensor().view(Storage("float32", 24, data), "float32", (6,), (1,), 0)
        with pytest.raises(ValueError, match="numbers are missing"):
            tensor.array()


def test_views_share_memory_and_can_be_written_to() -> None:
    for data in (np.zeros(24, "uint8"), bytes(24)):
        shared = Storage("float32", 24, data)
        first, second = (Tensor().view(shared, "float32", (6,), (1,), 0).array() for _ in range(2))
        first[0] = 5
        assert second[0] == 5
        assert first.flags.aligned


def test_numbers_in_odd_places_are_copied() -> None:
    data = np.zeros(25, "uint8")[1:]
    data[:] = np.arange(6, dtype="float32").view("uint8")
    array = Tensor().view(Storage("float32", 24, data), "float32", (6,), (1,), 0).array()
    assert array.flags.aligned
    assert array.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith(("bfloat", "float8"))])
def test_the_order_of_bytes_is_followed(dtype: str) -> None:
    values = np.array([1, 0, 1]).astype(dtype)
    data = values.astype(values.dtype.newbyteorder(">")).tobytes()
    array = Tensor().view(Storage(dtype, len(data), data), dtype, (3,), (1,), 0, big_endian=True).array()
    np.testing.assert_array_equal(array, values, strict=True)


def test_types_that_numpy_lacks_become_float32() -> None:
    """Their every value is compared with PyTorch's in the tests of its files."""
    cases = {
        "bfloat16": ([0x3F80, 0xC000, 0x7F80], [1, -2, np.inf]),
        "float8_e4m3fn": ([0x38, 0xC0, 0x01, 0x7E], [1, -2, 2.0**-9, 448]),
        "float8_e5m2": ([0x3C, 0xC0, 0x01, 0x7B, 0xFC], [1, -2, 2.0**-16, 57344, -np.inf]),
        "float8_e4m3fnuz": ([0x40, 0x01, 0x7F], [1, 2.0**-10, 240]),
        "float8_e5m2fnuz": ([0x40, 0x01, 0x7F], [1, 2.0**-17, 57344]),
    }
    for dtype, (bits, values) in cases.items():
        data = np.array(bits, DTYPES[dtype]).tobytes()
        tensor = Tensor().view(Storage(dtype, len(data), data), dtype, (len(bits),), (1,), 0)
        np.testing.assert_array_equal(tensor.array(), np.array(values, "float32"), strict=True)
        assert tensor.nbytes == 4 * len(bits)


def test_other_types_are_not_read() -> None:
    tensor = Tensor().view(storage(), "qint8", (6,), (1,), 0)
    assert (tensor.kind, tensor.dtype) == ("strided qint8", "qint8")


def test_strides_of_a_whole_array() -> None:
    assert row_major((2, 3, 4)) == (12, 4, 1)
    assert row_major(()) == ()
    assert row_major((0, 3)) == (3, 1)
    with pytest.raises(ValueError, match="no possible shape"):
        row_major((2**70,))
