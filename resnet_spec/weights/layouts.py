"""How libraries lay out each kind of parameter, and TensorFlow names it, to read and write files without a framework.

A graph's arrays are laid out as PyTorch lays them out: channels, outputs too, before positions. TensorFlow has the
positions first and the outputs last; PaddlePaddle has only linear layers' kernels the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resnet_spec.operations import BIASES, KERNELS, LEARNED, MEANS, OFFSETS, SCALES, STATISTICS, VARIANCES, Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter

Layout: TypeAlias = Literal["pytorch", "tensorflow", "paddle"]

KERAS_NAMES: Mapping[Role, str] = {
    Role.CONV_KERNEL: "kernel",
    Role.CONV_BIAS: "bias",
    Role.CONV_GAIN: "gain",
    Role.CONV_TRANSPOSE_KERNEL: "kernel",
    Role.LINEAR_KERNEL: "kernel",
    Role.LINEAR_BIAS: "bias",
    Role.NORM_SCALE: "gamma",
    Role.NORM_OFFSET: "beta",
    Role.NORM_MEAN: "moving_mean",
    Role.NORM_VARIANCE: "moving_variance",
    Role.NORM_GATE: "v",
    Role.NORM_THRESHOLD: "tau",
    Role.ACTIVATION_SLOPE: "alpha",
    Role.POOL_POWER: "p",
    **dict.fromkeys(LEARNED, "value"),
    Role.POSITION_SCALE: "gamma",
    Role.POSITION_OFFSET: "beta",
    Role.POSITION_MEAN: "moving_mean",
    Role.POSITION_VARIANCE: "moving_variance",
}
"""Keras' names of a layer's variables, and those of the backend's own layers (``v``, ``tau``, ``value``)."""

SLIM_NAMES: Mapping[Role, str] = {
    **KERAS_NAMES,
    **dict.fromkeys(KERNELS, "weights"),
    **dict.fromkeys(BIASES, "biases"),
}
"""The names in TF-Slim, and so in many TensorFlow 1 checkpoints."""

FLAX_NAMES: Mapping[Role, str] = {
    **KERAS_NAMES,
    **dict.fromkeys(SCALES, "scale"),
    **dict.fromkeys(OFFSETS, "bias"),
    **dict.fromkeys(MEANS, "mean"),
    **dict.fromkeys(VARIANCES, "var"),
    Role.ACTIVATION_SLOPE: "negative_slope",
    **dict.fromkeys(LEARNED, ""),
}
"""The names in Flax, whose arrays are laid out as TensorFlow's; nothing for an array that has its layer's name."""


def flax_path(parameter: Parameter) -> tuple[str, ...]:
    """The keys of a parameter in Flax: its collection, the layer's names from the outermost on, and its own.

    >>> from resnet_spec import load
    >>> flax_path(load("resnet18").to_graph().parameters()[3])
    ('batch_stats', 'bn1', 'mean')
    """
    collection = "batch_stats" if parameter.role in STATISTICS else "params"
    return collection, *parameter.node.split("."), *filter(None, [FLAX_NAMES[parameter.role]])


def tensorflow_axes(role: Role, rank: int) -> tuple[int, ...]:
    """The axes by which an array of ``rank`` axes is transposed from PyTorch's layout to TensorFlow's.

    The statistics of single positions (channels, height, width) become (height, width, channels), which the layer
    holds as one flat vector.

    >>> tensorflow_axes(Role.CONV_KERNEL, 4)
    (2, 3, 1, 0)
    """
    if role in KERNELS:
        # Of a transposed convolution, too: (in, out, ...) becomes (..., out, in).
        return (*range(2, rank), 1, 0)
    return (*range(1, rank), 0)[:rank]


def tensorflow_names(graph: Graph) -> dict[str, Parameter]:
    """Each parameter by every name that TensorFlow's files may have for it where they name layers as the graph does.

    The last part of a name may be Keras' word, slim's, or the variable's number within its layer. A layer's name may
    have hyphens for its dots, as in ``.keras`` files.
    """
    known: dict[str, Parameter] = {}
    place: Counter[str] = Counter()
    for parameter in graph.parameters():
        layer = parameter.node
        words = (KERAS_NAMES[parameter.role], SLIM_NAMES[parameter.role], str(place[layer]))
        known |= {f"{name}/{word}": parameter for name in (layer.replace(".", "-"), layer) for word in words}
        collection, *keys = flax_path(parameter)
        # Linen has collections; NNX has a layer's arrays together.
        known |= {f"{collection}/{'/'.join(keys)}": parameter, "/".join(keys): parameter}
        place[layer] += 1
    return known


def from_layout(array: NDArray[Any], parameter: Parameter, layout: Layout) -> NDArray[Any]:
    """An array laid out as a library has it in the graph's layout; a view, and unchanged if it cannot be the parameter.

    A head's kernel may be a convolution's in the one and a linear layer's in the other.
    """
    if layout == "paddle":
        # Whether a kernel is a linear layer's there shows in its own axes.
        array, layout = to_layout(array, parameter.role, layout), "pytorch"
    axes = library_axes(parameter.role, len(parameter.shape), layout)
    shape = tuple(parameter.shape[axis] for axis in axes)
    if layout == "tensorflow" and len(shape) == 3 and array.shape in ((1, *shape), (prod(shape),)):
        # Statistics of single positions, as tf.layers and as our own backend have them.
        array = array.reshape(shape)
    if parameter.role is Role.ACTIVATION_SLOPE and array.ndim > 1 and array.shape[-1:] == shape == (array.size,):
        # Keras has a slope for each position, unless the axes of the positions are shared.
        array = array.reshape(shape)
    if parameter.role in KERNELS and array.ndim != len(shape):
        channels, ones = _point(array.shape, layout), (1,) * (len(shape) - 2)
        # Also of another number of classes, so that this is what the two are found to differ in.
        if len(channels) == 2 and len(_point(shape, layout)) == 2:
            array = array.reshape((*ones, *channels) if layout == "tensorflow" else (*channels, *ones))
    if array.ndim != len(shape):
        return array
    return array.transpose([axes.index(axis) for axis in range(len(axes))])


def to_layout(array: NDArray[Any], role: Role, layout: Layout) -> NDArray[Any]:
    """A graph's array as a library lays it out; a view."""
    return array.transpose(library_axes(role, array.ndim, layout))


def library_axes(role: Role, rank: int, layout: Layout) -> tuple[int, ...]:
    """The axes by which a graph's array of ``rank`` axes is transposed to a library's layout."""
    if layout == "tensorflow":
        return tensorflow_axes(role, rank)
    return (1, 0) if layout == "paddle" and role in KERNELS and rank == 2 else tuple(range(rank))


def _point(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The channels of a kernel of one position; the whole shape of any other."""
    channels, window = (shape[-2:], shape[:-2]) if layout == "tensorflow" else (shape[:2], shape[2:])
    return channels if set(window) <= {1} else shape
