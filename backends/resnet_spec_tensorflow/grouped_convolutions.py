"""Chooses between the forms of grouped convolutions on the CPU by measuring them on the machine.

Keras compiles a grouped convolution by XLA, since TensorFlow has no gradient of one on the CPU. For inference several
convolutions of one group, each with the kernels of a few groups along a block diagonal, compute the same, often several
times faster, although they multiply by zeros. Which number is best depends on shape and processor.
"""

from __future__ import annotations

import os
import time
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.errors import BackendError
from resnet_spec.operations import Conv
from resnet_spec_tensorflow.framework import keras, tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnet_spec.graph import Graph

VARIABLE = "RESNET_SPEC_GROUPED_CONVOLUTIONS"
"""Environment variable: ``measure`` (the default), ``layer`` for Keras' own layer, or a number of channels of each
convolution, for a choice that does not depend on the machine."""

CHANNELS = (16, 32, 64, 128)
"""The numbers of input channels of each convolution that are tried."""

RUNS = 7

TIE = 1.1
"""Of times that differ by less, that of the fewest convolutions is chosen."""


class LayerShape(NamedTuple):
    """What the time of a convolution depends on."""

    input: tuple[int, ...]
    channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def group_parts(graph: Graph) -> dict[str, int]:
    """Return the number of convolutions for each grouped one of maps that is faster so.

    Nothing on a machine with a GPU, whose kernels know groups. Layers that are called several times stay as they are.
    """
    choice = os.environ.get(VARIABLE) or "measure"
    if choice == "layer" or (choice == "measure" and tf.config.list_physical_devices("GPU")):
        return {}
    if choice != "measure" and not choice.isdecimal():
        raise BackendError(f"{VARIABLE} is {choice!r}: it must be 'measure', 'layer' or a number of channels")
    calls = [node.layer for node in graph.nodes]
    found: dict[str, int] = {}
    for node in graph.nodes:
        operation = node.operation
        if not isinstance(operation, Conv) or operation.groups == 1 or operation.op != "conv2d":
            continue
        if calls.count(node.layer) > 1:
            continue
        (shape,) = graph.input_shapes(node)
        window = operation.kernel, operation.stride, operation.dilation
        key = LayerShape(shape, operation.channels, *window, operation.groups)
        parts = fastest(key) if choice == "measure" else parts_of(key, int(choice))
        if parts is not None:
            found[node.name] = parts
    return found


def parts_of(shape: LayerShape, channels: int) -> int | None:
    """Return the number of convolutions of at least ``channels`` input channels; None if no such number divides."""
    least = min(channels, shape.input[0])
    sizes = [shape.groups // n for n in range(1, shape.groups + 1) if shape.groups % n == 0]
    fitting = [parts for parts in sizes if shape.input[0] // parts >= least]
    return max(fitting) if fitting else None


@cache
def fastest(shape: LayerShape) -> int | None:
    """Return the fastest number of convolutions; None if Keras' own layer is faster than all."""
    tried = {parts_of(shape, channels) for channels in (*CHANNELS, shape.input[0])}
    times = {parts: seconds_of(split(shape, parts), shape) for parts in tried if parts is not None}
    layer = keras.layers.Conv2D(
        shape.channels, shape.kernel, shape.stride, "same", "channels_last", shape.dilation, shape.groups
    )
    least = min(times.values())
    if least >= seconds_of(layer, shape):
        return None
    # Each convolution costs time of its own where the model runs eagerly.
    return min(parts for parts, seconds in times.items() if seconds <= TIE * least)


def split(shape: LayerShape, parts: int) -> Callable[[Any], Any]:
    """Return a function that convolves an image by several convolutions of random kernels."""

    def compute(images: Any) -> Any:
        sliced = tf.split(images, parts, -1)
        done = [
            tf.nn.conv2d(part, kernel, shape.stride, "SAME", dilations=shape.dilation)
            for part, kernel in zip(sliced, kernels, strict=True)
        ]
        return tf.concat(done, -1)

    size = (*shape.kernel, shape.input[0] // parts, shape.channels // parts)
    kernels = [tf.random.normal(size) for _ in range(parts)]
    return compute


def seconds_of(compute: Callable[[Any], Any], shape: LayerShape) -> float:
    """Return the least time for one image, of a few runs."""
    channels, *positions = shape.input
    images = tf.random.normal((1, *positions, channels))
    function = tf.function(compute)
    least = inf
    for _ in range(RUNS):
        start = time.perf_counter()
        function(images).numpy()
        least = min(least, time.perf_counter() - start)
    return least
