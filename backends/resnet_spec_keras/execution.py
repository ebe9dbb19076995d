"""Runs a model, whole or a node at a time."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from resnet_spec_keras.compilation import apply as apply_node
from resnet_spec_keras.framework import keras

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from resnet_spec.graph import Node


def forward(model: Any, images: NDArray[Any], *, training: bool) -> list[NDArray[np.floating[Any]]]:
    """Return a model's outputs for (batch, channels, height, width) images or (batch, features) vectors.

    The model is channels last; maps, and values of (batch, channels, length), are returned channels first.
    """
    # Called directly: tracing a function costs more than the one forward pass per size of a comparison.
    # Keras casts the images to the model's dtype.
    with quiet():
        return [channels_first(value) for value in outputs(model, channels_last(images), training=training)]


def outputs(model: Any, images: Any, *, training: bool) -> list[Any]:
    """Return a model's own outputs in the graph's order."""
    return listed(model(images, training=training))


def listed(values: Any) -> list[Any]:
    """Return what a model returned as a list, in the graph's order."""
    if isinstance(values, dict):
        values = list(cast("dict[str, Any]", values).values())
    return cast("list[Any]", values) if isinstance(values, list) else [values]


def apply(model: Any, node: Node, inputs: Sequence[NDArray[Any]]) -> NDArray[np.floating[Any]]:
    """Compute one node's value from channels-first values, by the model's own layers."""
    with quiet():
        return channels_first(apply_node(model, node, [keras.ops.convert_to_tensor(channels_last(x)) for x in inputs]))


def channels_last(value: NDArray[Any]) -> NDArray[Any]:
    """Return a (batch, channels, ...) array as (batch, ..., channels)."""
    return np.ascontiguousarray(np.moveaxis(value, 1, -1))


def channels_first(value: Any) -> NDArray[Any]:
    """Return a (batch, ..., channels) tensor as a (batch, channels, ...) array, bfloat16 as float32."""
    array = np.asarray(value)
    # NumPy itself has no bfloat16.
    array = array.astype("float32") if array.dtype.name == "bfloat16" else array
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


@contextmanager
def quiet() -> Generator[None]:
    """Suppress TensorFlow's warnings about how Keras calls it: Keras retraces each grouped convolution on purpose."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
