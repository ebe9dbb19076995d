"""Optimized models in TensorFlow as frozen SavedModels vs. keras.applications and vs. stock Keras layers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import resnet_spec
from benchmarks.pairs import Ratio, measure

PAIRS = {1: 40, 8: 12}


def traced(model: Any, images: Any) -> Callable[[], Any]:
    """A function that runs a model in a ``tf.function`` for one shape."""
    signature = [tf.TensorSpec(images.shape, tf.float32)]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    return lambda: function(images).numpy()


def loaded(path: Path, images: Any) -> Callable[[], Any]:
    """A function that runs a SavedModel."""
    saved = tf.saved_model.load(str(path))
    function = saved.signatures["serving_default"]
    return lambda: [value.numpy() for value in function(images).values()]


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        for name, target in (("keras/resnet50", "≤ 0.85"), ("torchvision/resnext50_32x4d", "≤ 0.85")):
            graph = resnet_spec.load(name).to_graph()
            arrays = resnet_spec.initialize(graph)
            path = Path(folder) / graph.name.replace("/", "_")
            resnet_spec.save(resnet_spec.build(name, "tensorflow", weights=arrays, optimize=True), path)
            if name == "keras/resnet50":
                theirs, called = keras.applications.ResNet50(weights=None), "keras.applications in a tf.function"
            else:
                theirs, called = resnet_spec.build(name, "tensorflow", weights=arrays), "stock Keras in a tf.function"
            for batch, pairs in PAIRS.items():
                images = tf.constant(np.random.default_rng(0).standard_normal((batch, 224, 224, 3), np.float32))
                what = f"{name}, batch {batch}: optimized and frozen vs. {called}"
                yield measure(what, loaded(path, images), traced(theirs, images), pairs, target=target)
