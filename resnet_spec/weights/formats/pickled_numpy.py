"""NumPy's arrays in pickles of any version of NumPy and Python, rebuilt from their bytes.

NumPy pickles an array as an empty one, whose state (shape, type and content) is set afterwards, or since protocol 5 as
a call with its buffer. Neither is left to NumPy, which would create a type and allocate an array by a file's numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from resnet_spec.weights.formats.pickles import Global, Object, Rebuild, Stateful
from resnet_spec.weights.formats.stored_tensors import DTYPES, Storage, Tensor, row_major

_NAMES = {code: name for name, code in DTYPES.items() if not name.startswith(("bfloat", "float8"))}
"""Types by NumPy's codes."""

_EXTENSIONS = re.compile(r"ml_dtypes\.(bfloat16|float8_\w+)")
"""Types that JAX and TensorFlow add to NumPy."""


class _DType(Stateful):
    """A type of numbers: one of ``DTYPES``, or a description of another."""

    __slots__ = ("big_endian", "name")

    def __init__(self, code: Any = None, *_: Any) -> None:
        extension = _EXTENSIONS.fullmatch(code.name) if isinstance(code, Global) else None
        plain = code.lstrip("<>=|") if isinstance(code, str) else ""
        self.name = extension[1] if extension else _NAMES.get(plain) or _described(plain)
        self.big_endian = isinstance(code, str) and code.startswith(">")

    def set_state(self, state: Any) -> None:
        """Take the byte order; fields or a shape make it a type that is not read."""
        order, subtype, names = state[1:4]
        self.big_endian = order == ">"
        if subtype is not None or names is not None:
            self.name = "records"


def _described(code: str) -> str:
    return {"O": "Python objects", "S": "texts", "U": "texts", "V": "records"}.get(code[:1], f"NumPy's {code[:20]}")


class _Array(Tensor):
    """An array that is empty until its state is set."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        super().__init__("an array without content")

    def set_state(self, state: Any) -> None:
        """Take shape, type, order and content, before which newer versions have a number."""
        shape, dtype, column_major, content = state[-4:]
        self.fill(shape, dtype, content, "F" if column_major else "C")

    def fill(self, shape: Any, dtype: Any, content: Any, order: Any) -> None:
        """Describe the array, or say why it cannot be read."""
        if not isinstance(dtype, _DType) or dtype.name not in DTYPES or not isinstance(content, bytes | str):
            self.kind = f"an array of {dtype.name if isinstance(dtype, _DType) else 'an unknown type'}"
            return
        # A short content in a pickle of Python 2 is text.
        data = content if isinstance(content, bytes) else content.encode("latin-1")
        strides = row_major(shape) if order == "C" else row_major(shape[::-1])[::-1]
        self.view(Storage(dtype.name, len(data), data), dtype.name, shape, strides, 0, big_endian=dtype.big_endian)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> Tensor:
    array = _Array()
    array.fill(shape, dtype, content, order)
    return array


def _scalar(*arguments: Any) -> Any:
    return Object("numpy.scalar", arguments)


def numpy_table() -> Mapping[str, Rebuild]:
    """Return what builds arrays, by the names that NumPy has had for it."""
    table: dict[str, Rebuild] = {"numpy.dtype": _DType}
    for package in ("numpy.core", "numpy._core"):
        table[f"{package}.multiarray._reconstruct"] = _Array
        table[f"{package}.multiarray.scalar"] = _scalar
        table[f"{package}.numeric._frombuffer"] = _from_buffer
    return table
