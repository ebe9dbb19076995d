"""TensorFlow and Keras as ``Any``: neither ships type information, so the untyped seam is here and nowhere else."""

from __future__ import annotations

from typing import Any

from resnet_spec_tensorflow import settings

settings.prepare()

import keras as _keras  # noqa: E402  # pyright: ignore[reportMissingTypeStubs]
import tensorflow as _tensorflow  # noqa: E402  # pyright: ignore[reportMissingTypeStubs]

keras: Any = _keras
tf: Any = _tensorflow

__all__ = ["keras", "tf"]
