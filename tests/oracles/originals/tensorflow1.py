"""TensorFlow 1 as the originals written for it find it, with Keras 2; in a process of its own."""

from __future__ import annotations

import os
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow

tf: Any = tensorflow.compat.v1
# Each layer looks for its variables among all that exist: by identity, as in TensorFlow 1.
tf.disable_tensor_equality()


def as_written() -> Any:
    """A session's configuration that rewrites nothing: for a few runs that takes longer than it saves."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config
