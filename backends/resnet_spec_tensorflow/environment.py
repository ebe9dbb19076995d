"""Versions and settings of TensorFlow that change rounding."""

from __future__ import annotations

import os

from resnet_spec_tensorflow.framework import keras, tf


def describe() -> dict[str, str]:
    """Return versions, devices, threads and settings by name, as reports show them."""
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
