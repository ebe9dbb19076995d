"""Versions and settings of JAX that change rounding."""

from __future__ import annotations

from resnet_spec_jax.framework import jax, keras


def describe() -> dict[str, str]:
    """Return versions, devices and settings by name, as reports show them."""
    return {
        "jax": str(jax.__version__),
        "keras": str(keras.__version__),
        "devices": ", ".join(map(str, jax.devices())),
        "JAX_ENABLE_X64": "on" if jax.config.jax_enable_x64 else "off",
        "matmul precision": str(jax.config.jax_default_matmul_precision or "default"),
    }
