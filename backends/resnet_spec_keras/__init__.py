"""What the backends have in common that run Keras, on TensorFlow or JAX; importing it imports no framework yet."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUTPUTS"]

OUTPUTS: Mapping[str, str] = MappingProxyType(
    {
        ".keras": "Keras model: architecture and weights in one file",
        ".h5": "Keras model in the older format, whose weights old versions of Keras read too",
        ".weights.h5": "weights of a Keras model",
    }
)
"""What Keras writes, whatever framework it runs on."""
