"""The originals on TensorFlow 2: its functions, the blocks of keras.applications, and a tutorial's in plain Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications.resnet import residual_block_v1, residual_block_v2
from keras_hub.src.models.resnet import resnet_backbone
from numpy.typing import NDArray

from resnet_spec import Graph

from ..oracles.keras_original import ATTRIBUTES, TO_KERAS
from ..oracles.originals.tutorial import block as tutorial_block
from .original import PREFIX, Arrays, Original, only

# ---------------------------------------------------------------------------------------------------------------
# Functions


def _function(name: str, call: Callable[..., Any]) -> Original:
    """A function of the batch with channels last, given the layer's arrays by keywords."""

    def value(images: NDArray[Any], own: dict[str, NDArray[Any]]) -> NDArray[Any]:
        return _channels_first(call(_channels_last(images), **own))

    return Original(f"tensorflow.{name}", ("tensorflow",), only(value))


def _channels_last(images: NDArray[Any]) -> Any:
    return tf.constant(np.moveaxis(images, 1, -1))


def _channels_first(value: Any) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(np.asarray(value), -1, 1))


def _convolution(strides: int = 1, dilations: int = 1) -> Original:
    """A convolution with ``SAME`` padding."""

    def call(x: Any, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
        value = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), strides, "SAME", dilations=dilations)
        return value if bias is None else tf.nn.bias_add(value, bias)

    return _function("nn.conv2d", call)


def _convolution_of_rank(rank: int, strides: Any) -> Original:
    """The same of a signal or a volume."""

    def call(x: Any, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
        value = tf.nn.convolution(x, weight.transpose(*range(2, rank + 2), 1, 0), strides, "SAME")
        return value if bias is None else tf.nn.bias_add(value, bias)

    return _function("nn.convolution", call)


def _transpose_of_a_signal(x: Any, weight: NDArray[Any]) -> Any:
    batch, length, _ = x.shape
    return tf.nn.conv1d_transpose(x, weight.transpose(2, 1, 0), [batch, 2 * length, weight.shape[1]], 2, "SAME")


def _transpose(stride: int) -> Original:
    """A transposed convolution with ``SAME`` padding."""

    def call(x: Any, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
        batch, height, width, _ = x.shape
        shape = [batch, height * stride, width * stride, weight.shape[1]]
        value = tf.nn.conv2d_transpose(x, weight.transpose(2, 3, 1, 0), shape, stride, "SAME")
        return value if bias is None else tf.nn.bias_add(value, bias)

    return _function("nn.conv2d_transpose", call)


def _normalized(x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None) -> Any:
    return tf.nn.batch_normalization(x, running_mean, running_var, bias, weight, 1e-3)


def _normalized_in(positions: tuple[int, ...]) -> Callable[..., Any]:
    """The same of a map with other axes for its positions."""

    def call(x: Any, **own: Any) -> Any:
        return _normalized(tf.reshape(x, (x.shape[0], *positions, x.shape[-1])), **own)

    return call


# ---------------------------------------------------------------------------------------------------------------
# Blocks


def _block(name: str, pattern: str, make: Callable[[Any], Any]) -> Original:
    """A block of Keras layers on the input that ``make`` is given; their names are the nodes' own in a pattern."""

    def run(graph: Graph, arrays: Arrays, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        keras.config.set_dtype_policy("float64")
        channels, *size = graph.input.shape
        inputs = keras.Input((*size, channels))
        whole = keras.Model(inputs, make(inputs))
        names = {node: pattern.format(node.removeprefix(PREFIX)) for node in graph.by_name}
        layers = {layer.name: layer for layer in whole.layers}
        for parameter in graph.parameters():
            order = TO_KERAS.get(parameter.role)
            array = arrays[parameter.name]
            variable = getattr(layers[names[parameter.node]], ATTRIBUTES[parameter.role])
            variable.assign(array.transpose(order) if order else array)
        if len(whole.variables) != len(graph.parameters()):
            raise ValueError(f"{name} has other variables")
        # A layer called twice has no single value.
        found = {node: layers[theirs] for node, theirs in names.items() if theirs in layers}
        outputs = {node: layer.output for node, layer in found.items() if len(layer._inbound_nodes) == 1}
        outputs[graph.outputs[-1]] = whole.output
        values = keras.Model(inputs, outputs)(_channels_last(images))
        return {node: _channels_first(value) for node, value in values.items()}

    library = name.partition(".")[0]
    return Original(name, ("keras-hub",) * (library == "keras_hub") + ("keras", "tensorflow"), run)


def _keras_hub(kind: str, stride: int, *, projected: bool, preactivated: bool = False) -> Original:
    options = {"conv_shortcut": projected, "use_pre_activation": preactivated, "dtype": "float64"}
    filters = 8 if kind.startswith("basic") else 2
    return _block(
        f"keras_hub.src.models.resnet.resnet_backbone.apply_{kind}",
        "block_{}",
        lambda x: getattr(resnet_backbone, f"apply_{kind}")(x, filters, stride=stride, name="block", **options),
    )


def _keras_v1(stride: int, *, projected: bool) -> Original:
    return _block(
        "keras.src.applications.resnet.residual_block_v1",
        "block_{}",
        lambda x: residual_block_v1(x, 2, stride=stride, conv_shortcut=projected, name="block"),
    )


def _keras_v2(stride: int, *, projected: bool) -> Original:
    return _block(
        "keras.src.applications.resnet.residual_block_v2",
        "block_{}",
        lambda x: residual_block_v2(x, 2, stride=stride, conv_shortcut=projected, name="block"),
    )


def _tutorial(channels: int, stride: int) -> Original:
    return _block(
        "tests.oracles.originals.tutorial.block",
        "block.{}",
        lambda x: tutorial_block(x, "block", channels, stride, "float64"),
    )


ORIGINALS: dict[str, Original] = {
    "operations/conv2d_same": _convolution(2),
    "operations/conv2d_same_even": _convolution(2),
    "operations/conv2d_same_wide_stride": _convolution(3),
    "operations/conv2d_same_dilated": _convolution(dilations=2),
    "operations/conv1d_same": _convolution_of_rank(1, 2),
    "operations/conv3d_same": _convolution_of_rank(3, (1, 2, 2)),
    "operations/conv_transpose1d_same": _function("nn.conv1d_transpose", _transpose_of_a_signal),
    "operations/max_pool1d_same": _function("nn.max_pool1d", lambda x: tf.nn.max_pool1d(x, 3, 2, "SAME")),
    "operations/conv_transpose2d_same": _transpose(2),
    "operations/conv_transpose2d_same_small": _transpose(2),
    "operations/batch_norm_keras": _function("nn.batch_normalization", _normalized),
    "operations/batch_norm_unscaled": _function("nn.batch_normalization", _normalized),
    "operations/batch_norm_plain": _function("nn.batch_normalization", _normalized),
    "operations/batch_norm_of_a_row": _function("nn.batch_normalization", _normalized_in((9,))),
    "operations/batch_norm_of_four_axes": _function("nn.batch_normalization", _normalized_in((3, 3, 1))),
    "operations/max_pool2d_same": _function("nn.max_pool2d", lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME")),
    "operations/avg_pool2d_same": _function("nn.avg_pool2d", lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME")),
    "operations/resize_nearest_centered": _function("image.resize", lambda x: tf.image.resize(x, (15, 12), "nearest")),
    "operations/resize_like": _function(
        "image.resize", lambda x: tf.image.resize(x[:, 4:], tf.shape(x)[1:3], "nearest")
    ),
    "operations/max": _function("reduce_max", lambda x: tf.reduce_max(x, (3, 2), keepdims=True)),
    "operations/sum_of_columns": _function("reduce_sum", lambda x: tf.reduce_sum(x, 2, keepdims=True)),
    "operations/softmax_of_columns": _function("nn.softmax", lambda x: tf.nn.softmax(x, 2)),
    "operations/slice_part_of_columns": _function("split", lambda x: tf.split(x, 4, 2)[3]),
    "operations/concat_of_rows": _function("concat", lambda x: tf.concat([x[:, :2], x, x[:, :2]], 1)),
    "blocks/keras_bottleneck": _keras_v1(2, projected=True),
    "blocks/keras_bottleneck_identity": _keras_v1(1, projected=False),
    "blocks/keras_hub_basic_block": _keras_hub("basic_block", 2, projected=True),
    "blocks/keras_hub_basic_block_average": _keras_hub("basic_block_vd", 1, projected=True),
    "blocks/keras_hub_bottleneck": _keras_hub("bottleneck_block", 2, projected=True),
    "blocks/keras_hub_bottleneck_average": _keras_hub("bottleneck_block_vd", 2, projected=True),
    "blocks/keras_hub_bottleneck_identity": _keras_hub("bottleneck_block", 1, projected=False),
    "blocks/keras_hub_preact_bottleneck": _keras_hub("bottleneck_block", 2, projected=True, preactivated=True),
    "blocks/keras_preact_bottleneck": _keras_v2(2, projected=True),
    "blocks/keras_preact_bottleneck_pooled": _keras_v2(2, projected=False),
    "blocks/tutorial_block": _tutorial(6, 2),
    "blocks/tutorial_block_identity": _tutorial(4, 1),
}
