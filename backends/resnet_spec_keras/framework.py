"""Keras, and TensorFlow if it is what Keras runs on, as ``Any``: neither ships type information.

The untyped seam is here and nowhere else. A backend sets and checks the framework of Keras before it imports this.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras as _keras  # pyright: ignore[reportMissingTypeStubs]

keras: Any = _keras

NAME: str = keras.backend.backend()
"""The framework that Keras runs on, which is also the name of its backend here."""

tf: Any = import_module("tensorflow") if NAME == "tensorflow" else None
"""TensorFlow, for the few places where a function of it does more, or faster, than that of ``keras.ops``; or None."""

__all__ = ["NAME", "keras", "tf"]
