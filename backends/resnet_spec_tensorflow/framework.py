"""TensorFlow and Keras as ``Any``, once they are set up; see ``resnet_spec_keras.framework``."""

from __future__ import annotations

from resnet_spec_tensorflow import settings

settings.prepare()

from resnet_spec_keras.framework import keras, tf  # noqa: E402

__all__ = ["keras", "tf"]
