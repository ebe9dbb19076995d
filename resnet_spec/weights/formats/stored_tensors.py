"""Tensors as a pickle describes them: a type, a shape and steps over the bytes of a storage."""

from __future__ import annotations

from functools import cache
from math import inf, nan, prod
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.checkpoint import widen_bfloat16
from resnet_spec.weights.formats.buffers import aligned
from resnet_spec.weights.formats.pickles import Stateful, is_sequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_AXES = 32
"""The most axes of a tensor, as many as every version of NumPy has."""

DTYPES = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "uint8": "u1",
    "bool": "b1",
    "complex64": "c8",
    "complex128": "c16",
    # Their bits, since NumPy has no such types.
    "bfloat16": "u2",
    "float8_e4m3fn": "u1",
    "float8_e4m3fnuz": "u1",
    "float8_e5m2": "u1",
    "float8_e5m2fnuz": "u1",
}
"""NumPy's codes of the types that can be read."""

NARROW = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"})
"""Types that NumPy lacks, whose every value float32 represents."""


class Storage:
    """Bytes that tensors share, which may be read after the tensors are described.

    Attributes:
        data: The bytes, writable, or a ``bytes`` object that is copied when a tensor is first used.
        dtype: The type of the numbers.
        size: How many of the bytes belong to it.
    """

    __slots__ = ("data", "dtype", "size")

    def __init__(self, dtype: str, size: int, data: NDArray[np.uint8] | bytes | None = None) -> None:
        self.dtype = dtype
        self.size = size
        self.data = data

    def buffer(self) -> NDArray[np.uint8]:
        """Return the bytes as a writable array."""
        import numpy as np

        if isinstance(self.data, bytes):
            copy = aligned(len(self.data))
            copy[:] = np.frombuffer(self.data, np.uint8)
            self.data = copy
        if self.data is None or self.size > len(self.data):
            raise ValueError("a tensor's numbers are missing")
        return self.data


class Tensor(Stateful):
    """A tensor that is a view of a storage, or the reason why there is none.

    Attributes:
        kind: What the tensor is stored as, if NumPy cannot represent it; else empty.
        dtype: The type, one of ``DTYPES`` unless ``kind`` says otherwise.
        shape: Its numbers along each axis.
    """

    __slots__ = ("_array", "_big_endian", "_offset", "_storage", "_strides", "dtype", "kind", "shape")

    def __init__(self, kind: str = "", dtype: str = "") -> None:
        self.kind = kind
        self.dtype = dtype
        self.shape: tuple[int, ...] = ()
        self._array: NDArray[Any] | None = None

    def view(
        self,
        storage: Storage,
        dtype: str,
        shape: Any,
        strides: Any,
        offset: Any,
        *,
        big_endian: bool = False,
    ) -> Tensor:
        """Describe the tensor: strides and offset are in numbers, not bytes; raises ValueError if they lie outside."""
        if dtype not in DTYPES:
            self.kind, self.dtype = f"strided {dtype}", dtype
            return self
        shape, strides, (offset,) = _numbers(shape), _numbers(strides), _numbers((offset,))
        itemsize = int(DTYPES[dtype][1:])
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and (last + 1) * itemsize > storage.size:
            raise ValueError("a tensor is larger than its storage")
        self.kind, self.dtype, self.shape = "", dtype, shape
        self._storage, self._offset, self._big_endian = storage, offset * itemsize, big_endian
        self._strides = tuple(step * itemsize for step in strides)
        return self

    def set_state(self, state: Any) -> None:
        """PyTorch sets no state that changes a tensor's numbers."""

    @property
    def nbytes(self) -> int:
        """The size of the array that it becomes."""
        return prod(self.shape) * (4 if self.dtype in NARROW else int(DTYPES[self.dtype][1:]))

    def array(self) -> NDArray[Any]:
        """Return the tensor, as a view of its storage where the type and the processor allow it."""
        import numpy as np

        if self._array is None:
            dtype = np.dtype((">" if self._big_endian else "<") + DTYPES[self.dtype])
            if 0 in self.shape:
                array: NDArray[Any] = np.empty(self.shape, dtype)
            else:
                array = np.ndarray(self.shape, dtype, self._storage.buffer(), self._offset, self._strides)
            if not (dtype.isnative and array.flags.aligned):
                array = array.astype(dtype.newbyteorder("="))
            self._array = _widened(array, self.dtype)
        return self._array


def _numbers(values: Any) -> tuple[int, ...]:
    # A bool is a subclass of int; many or long numbers would take long to multiply.
    possible = is_sequence(values) and len(values) <= MAX_AXES
    if not possible or not all(type(n) is int and 0 <= n < 2**63 for n in values):
        raise ValueError("a tensor has no possible shape")
    return tuple(values)


def row_major(shape: Any) -> tuple[int, ...]:
    """Return the strides, in numbers, of an array whose last axis is contiguous."""
    steps = [1]
    for n in reversed(_numbers(shape)[1:]):
        steps.append(steps[-1] * max(n, 1))
    return tuple(reversed(steps[: len(shape)]))


def _widened(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "bfloat16":
        return widen_bfloat16(array)
    return _float8_values(dtype)[array] if dtype in NARROW else array


@cache
def _float8_values(dtype: str) -> NDArray[np.float32]:
    """Return the values of all bytes as float32."""
    import numpy as np

    return np.array([_float8_value(dtype, byte) for byte in range(256)], np.float32)


def _float8_value(dtype: str, byte: int) -> float:
    exponent_bits, mantissa_bits = int(dtype[8]), int(dtype[10])
    exponent, mantissa = divmod(byte & 0x7F, 2**mantissa_bits)
    sign = -1 if byte & 0x80 else 1
    # The types in "uz" have NaN in place of a negative zero, and a bias that is larger by one.
    unsigned_zero = dtype.endswith("uz")
    bias = 2 ** (exponent_bits - 1) - (not unsigned_zero)
    if (byte == 0x80) if unsigned_zero else (dtype.endswith("fn") and byte & 0x7F == 0x7F):
        return nan
    if dtype == "float8_e5m2" and exponent == 2**exponent_bits - 1:
        return nan if mantissa else sign * inf
    fraction = mantissa / 2**mantissa_bits
    return sign * ((1 + fraction) * 2.0 ** (exponent - bias) if exponent else fraction * 2.0 ** (1 - bias))
