"""The dtypes that models of PyTorch have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from resnet_spec.errors import BackendError

if TYPE_CHECKING:
    from resnet_spec.backend.dtypes import ModelDType

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def chosen(dtype: ModelDType | None) -> torch.dtype:
    """Return PyTorch's dtype, by default its own default; raises BackendError for a mixed policy."""
    if dtype is None:
        return torch.get_default_dtype()
    if dtype not in _DTYPES:
        half = f"torch.{dtype.removeprefix('mixed_')}"
        raise BackendError(
            f"a PyTorch model has one dtype, not {dtype!r}: build it with dtype='float32', and run it under"
            f" torch.autocast(device, {half})"
        )
    return _DTYPES[dtype]
