"""How TensorFlow names and lays out each kind of parameter, to read and write its files without a framework.

A graph's arrays are laid out as PyTorch lays them out: channels, outputs too, before positions. TensorFlow has the
positions first and the outputs last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from resnet_spec.operations import BIASES, KERNELS, Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter

KERAS_NAMES: Mapping[Role, str] = {
    Role.CONV_KERNEL: "kernel",
    Role.CONV_BIAS: "bias",
    Role.CONV_TRANSPOSE_KERNEL: "kernel",
    Role.LINEAR_KERNEL: "kernel",
    Role.LINEAR_BIAS: "bias",
    Role.NORM_SCALE: "gamma",
    Role.NORM_OFFSET: "beta",
    Role.NORM_MEAN: "moving_mean",
    Role.NORM_VARIANCE: "moving_variance",
    Role.NORM_GATE: "v",
    Role.NORM_THRESHOLD: "tau",
    Role.POSITION_SCALE: "gamma",
    Role.POSITION_OFFSET: "beta",
    Role.POSITION_MEAN: "moving_mean",
    Role.POSITION_VARIANCE: "moving_variance",
}
"""Keras' names of a layer's variables, and those of the backend's own layers (``v``, ``tau``)."""

SLIM_NAMES: Mapping[Role, str] = {
    **KERAS_NAMES,
    **dict.fromkeys(KERNELS, "weights"),
    **dict.fromkeys(BIASES, "biases"),
}
"""The names in TF-Slim, and so in many TensorFlow 1 checkpoints."""


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
    return (*range(1, rank), 0)


def from_tensorflow(graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays under TensorFlow's names (``block1/unit_1/conv1/weights``) as the graph names and lays them out.

    The last part of a name may be Keras' word, slim's, or the variable's number within its layer. A scope that all
    names share is removed if they fit only then. An array that fits no parameter keeps its name, one with a wrong shape
    its shape. Arrays are views if possible.
    """
    known = _tensorflow_names(graph)
    common = _common_scope(arrays, known)
    translated: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        parameter = known.get(_plain(name).removeprefix(common))
        if parameter is None or parameter.name in translated or "/" not in name:
            translated[name] = array
        else:
            translated[parameter.name] = _from_tensorflow_layout(array, parameter)
    return translated


def _plain(name: str) -> str:
    """A name whose dots, which Keras has in layers' names, are slashes, without the number of the output."""
    return name.partition(":")[0].replace(".", "/")


def _tensorflow_names(graph: Graph) -> dict[str, Parameter]:
    """Each parameter by every name that TensorFlow's files may have for it."""
    known: dict[str, Parameter] = {}
    place: Counter[str] = Counter()
    for parameter in graph.parameters():
        layer = _plain(parameter.node)
        words = {KERAS_NAMES[parameter.role], SLIM_NAMES[parameter.role], str(place[layer])}
        known |= {f"{layer}/{word}": parameter for word in words}
        place[layer] += 1
    return known


def _common_scope(arrays: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    names = [_plain(name) for name in arrays]
    scopes = {name.partition("/")[0] + "/" for name in names}
    if len(scopes) != 1 or any(name in known for name in names):
        return ""
    (scope,) = scopes
    return scope if any(name.removeprefix(scope) in known for name in names) else ""


def _from_tensorflow_layout(array: NDArray[Any], parameter: Parameter) -> NDArray[Any]:
    axes = tensorflow_axes(parameter.role, len(parameter.shape))
    shape = tuple(parameter.shape[axis] for axis in axes)
    if len(shape) == 3 and array.shape in ((1, *shape), (prod(shape),)):
        # Statistics of single positions, as tf.layers and as our own backend have them.
        array = array.reshape(shape)
    if array.ndim != len(shape):
        return array
    return array.transpose([axes.index(axis) for axis in range(len(axes))])
