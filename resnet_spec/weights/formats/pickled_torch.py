"""PyTorch's tensors in pickles: what ``torch._utils`` would call, as descriptions of tensors over storages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from resnet_spec.weights.formats.pickles import Global, Object, Rebuild, is_sequence
from resnet_spec.weights.formats.stored_tensors import DTYPES, Storage, Tensor

_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "BFloat16": "bfloat16",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "uint8",
}
"""The types of numbers in storages, by the first part of the class's name."""

_STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?_?(\w+)Storage")

_WIDTHS = {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
"""Bytes of the types that are only skipped."""


def storage_type(kind: Any) -> tuple[str, int]:
    """Return the type of a storage's numbers and their size in bytes, by the class that a pickle names."""
    match = _STORAGE.fullmatch(kind.name) if isinstance(kind, Global) else None
    if match is None or match[1] not in _STORAGES:
        raise ValueError("it has a storage of an unknown type")
    dtype = _STORAGES[match[1]]
    return dtype, _WIDTHS.get(dtype) or int(DTYPES[dtype][1:])


def torch_table(load_from_bytes: Callable[[Any], Any], *, big_endian: bool = False) -> Mapping[str, Rebuild]:
    """Return what builds tensors, by the names that PyTorch has had for it.

    ``load_from_bytes`` reads a file within the file, as which Python's own ``pickle`` stores a storage.
    """

    def plain(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        return Tensor().view(storage, storage.dtype, size, stride, offset, big_endian=big_endian)

    def second(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        tensor = plain(storage, offset, size, stride)
        return _lazy(tensor, rest[2] if len(rest) > 2 else None)

    def third(storage: Any, offset: Any, size: Any, stride: Any, _: Any, hooks: Any, dtype: Any, *rest: Any) -> Tensor:
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        tensor = Tensor().view(storage, _dtype(dtype), size, stride, offset, big_endian=big_endian)
        return _lazy(tensor, rest[0] if rest else None)

    builders: dict[str, Rebuild] = {
        "_rebuild_tensor": plain,
        "_rebuild_tensor_v2": second,
        "_rebuild_tensor_v3": third,
        "_rebuild_parameter": _first,
        "_rebuild_parameter_with_state": _first,
        "_rebuild_device_tensor_from_numpy": _first,
        "_rebuild_device_tensor_from_cpu_tensor": _first,
        "_rebuild_xla_tensor": _first,
        "_rebuild_meta_tensor_no_storage": _meta,
        "_rebuild_qtensor": _quantized,
        "_rebuild_sparse_tensor": _sparse,
        "_rebuild_sparse_csr_tensor": _sparse,
        "_rebuild_nested_tensor": _nested,
        "_rebuild_wrapper_subclass": _wrapper,
    }

    def of_subclass(function: Any, _: Any, arguments: Any, *state: Any) -> Any:
        build = builders.get(function.name.removeprefix("torch._utils.")) if isinstance(function, Global) else None
        return build(*arguments) if build else Tensor(f"what {_kind(function)} makes")

    table = {f"torch._utils.{name}": build for name, build in builders.items()}
    names = ("_tensor._rebuild_from_type_v2", "_tensor._rebuild_from_type", "tensor._rebuild_from_type")
    table |= {f"torch.{name}": of_subclass for name in names}
    table |= {f"torch.jit._pickle.{name}": _first for name in ("restore_type_tag", "build_tensorlist")}
    return {**table, "torch.Size": _first, "torch.storage._load_from_bytes": load_from_bytes}


def _first(value: Any, *_: Any) -> Any:
    return value


def _dtype(value: Any) -> str:
    """A type of numbers is pickled as a global of the package."""
    return value.name.removeprefix("torch.") if isinstance(value, Global) else "an unknown type"


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Global) else "an unknown class"


def _lazy(tensor: Tensor, metadata: Any) -> Tensor:
    """A tensor whose conjugation or negation PyTorch has put off has other numbers than its storage."""
    if isinstance(metadata, dict) and metadata:
        tensor.kind = f"{tensor.dtype} that is still to be conjugated or negated"
    return tensor


def _meta(dtype: Any, *_: Any) -> Tensor:
    return Tensor(f"strided {_dtype(dtype)} on meta")


def _nested(buffer: Any, *_: Any) -> Tensor:
    return Tensor(f"nested {buffer.dtype if isinstance(buffer, Tensor) else 'an unknown type'}")


def _wrapper(kind: Any, dtype: Any, *_: Any) -> Tensor:
    return Tensor(f"{_dtype(dtype)} in an object of type {_kind(kind)}")


def _quantized(storage: Any, *_: Any) -> Tensor:
    return Tensor(f"strided {storage.dtype if isinstance(storage, Storage) else 'an unknown type'} on cpu")


def _sparse(layout: Any, data: Any, *_: Any) -> Tensor:
    text = layout.arguments[0] if isinstance(layout, Object) and layout.arguments else None
    name = text.removeprefix("torch.")[:40] if isinstance(text, str) else "sparse"
    # The numbers come after their places.
    dtypes = [part.dtype for part in data if isinstance(part, Tensor)] if is_sequence(data) else []
    return Tensor(f"{name} {dtypes[-1] if dtypes else 'an unknown type'} on cpu")
