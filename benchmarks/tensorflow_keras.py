"""Building and running ``keras/resnet50`` vs. keras.applications."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import resnet_spec
from benchmarks.pairs import Ratio, measure


def touch(model: Any) -> Any:
    """Read every element."""
    for variable in model.variables:
        tf.reduce_sum(variable.value)
    return model


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        h5, safetensors = Path(folder) / "original.weights.h5", Path(folder) / "weights.safetensors"
        theirs = keras.applications.ResNet50(weights=None)
        theirs.save_weights(h5)
        graph = resnet_spec.load("keras/resnet50").to_graph()
        resnet_spec.write_weights(safetensors, graph, resnet_spec.initialize(graph))

        def build_ours() -> Any:
            keras.utils.clear_session(free_memory=False)
            return touch(resnet_spec.build("keras/resnet50", "tensorflow", weights=safetensors))

        def build_theirs() -> Any:
            keras.utils.clear_session(free_memory=False)
            model = keras.applications.ResNet50(weights=None)
            model.load_weights(h5)
            return touch(model)

        name = "build keras/resnet50 with weights in Keras vs. keras.applications + load_weights"
        yield measure(name, build_ours, build_theirs, 9, target="≤ 1")
        ours = resnet_spec.build("keras/resnet50", "tensorflow", weights=safetensors)
        for batch, pairs in ((1, 80), (8, 40)):
            images = tf.constant(np.random.default_rng(0).standard_normal((batch, 224, 224, 3), np.float32))
            signature = [tf.TensorSpec(images.shape, tf.float32)]
            mine = tf.function(lambda x: ours(x, training=False), input_signature=signature)
            other = tf.function(lambda x: theirs(x, training=False), input_signature=signature)
            name = f"keras/resnet50 in a tf.function, batch {batch}"
            yield measure(
                name,
                lambda mine=mine, images=images: mine(images).numpy(),
                lambda other=other, images=images: other(images).numpy(),
                pairs,
                target="median ≤ 1.02",
            )
