"""The dtypes that models of PyTorch have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from resnet_spec.backend.dtypes import computed_in

if TYPE_CHECKING:
    from resnet_spec.backend.dtypes import ModelDType

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def chosen(dtype: ModelDType | None) -> torch.dtype:
    """Return the dtype of parameters, by default PyTorch's own default; float32 under a mixed policy."""
    if dtype is None:
        return torch.get_default_dtype()
    return _DTYPES.get(dtype, torch.float32)


def autocast(dtype: ModelDType | None) -> torch.dtype | None:
    """Return the dtype to which a mixed policy casts, None for any other dtype."""
    return _DTYPES[computed_in(dtype)] if dtype is not None and dtype not in _DTYPES else None
