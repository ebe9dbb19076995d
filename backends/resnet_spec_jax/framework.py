"""JAX and Keras as ``Any``, once they are set up; see ``resnet_spec_keras.framework``."""

from __future__ import annotations

from typing import Any

from resnet_spec_keras import settings

settings.choose("jax")
settings.check("jax")

import jax as _jax  # noqa: E402  # pyright: ignore[reportMissingTypeStubs]

from resnet_spec_keras.framework import keras  # noqa: E402

jax: Any = _jax

__all__ = ["jax", "keras"]
