"""What is done with a finished model besides writing it: run it, and say in which environment that was."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from resnet_spec_tensorflow.framework import keras, tf

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray


def forward(model: Any, images: NDArray[Any], *, training: bool) -> list[NDArray[np.floating[Any]]]:
    """The outputs of a channels-last model for (batch, channels, height, width) images or (batch, features) vectors.

    Maps, and values of (batch, channels, length), come back channels first too.
    """
    # Called directly: tracing a function costs more than the forward pass that a comparison makes once a size.
    # Keras casts the images to the model's dtype.
    with quiet():
        values: Any = model(np.ascontiguousarray(np.moveaxis(images, 1, -1)), training=training)
    if isinstance(values, dict):
        values = list(cast("dict[str, Any]", values).values())
    outputs = cast("list[Any]", values) if isinstance(values, list) else [values]
    return [np.ascontiguousarray(np.moveaxis(value.numpy(), -1, 1)) for value in outputs]


def describe() -> dict[str, str]:
    """Versions, devices, threads and settings that change rounding."""
    threading = tf.config.threading
    threads = {
        "intra-op": threading.get_intra_op_parallelism_threads(),
        "inter-op": threading.get_inter_op_parallelism_threads(),
    }
    return {
        "tensorflow": str(tf.__version__),
        "keras": str(keras.__version__),
        "devices": ", ".join(device.name for device in tf.config.list_physical_devices()),
        "threads": ", ".join(f"{kind} {count or 'default'}" for kind, count in threads.items()),
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "tf32": "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off",
    }


@contextmanager
def quiet() -> Generator[None]:
    """Without TensorFlow's remarks on how Keras calls it: Keras retraces each grouped convolution on purpose."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
