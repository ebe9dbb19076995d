"""Compiles resnet-spec graphs to Keras models that run on JAX; importing this package imports no framework yet."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnet_spec_keras import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_spec_jax.backend import JaxBackend

__all__ = ["OUTPUTS", "PROCESS_SETTINGS", "JaxBackend"]

PROCESS_SETTINGS: Mapping[str, str] = MappingProxyType({"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"})
"""Environment variables that the backend needs in a process of its own, read when Keras and JAX are imported."""


def __getattr__(name: str) -> Any:
    if name == "JaxBackend":
        from resnet_spec_jax.backend import JaxBackend

        return JaxBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
