"""Keras' own functions in float64 on JAX, where Keras computes most of them in float32 whatever JAX is set to."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def keep_float64() -> None:
    """Let Keras compute in float64 what has float64 inputs, such as a normalization, for the rest of the process.

    Keras replaces every 64-bit result type by the 32-bit one on all frameworks but TensorFlow, by a table that nothing
    else reads, and has no setting for it. Nothing changes for values of other types.
    """
    dtypes: Any = import_module("keras.src.backend.common.dtypes")
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
