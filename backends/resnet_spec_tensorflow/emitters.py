"""From operation to stock Keras layers: one short function each, in a table that refuses a second one.

An emitter makes empty layers and never sees weights. It returns the steps that take a node's input to its value, most
often one layer; a padding that the layer itself cannot express is a step before it. Maps are channels last, and what
is channels × length in the graph is length × channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from resnet_spec.backend.table import Table
from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    EvoNormS0,
    FilterResponseNorm,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Linear,
    MaxPool2d,
    Multiply,
    Operation,
    Pad2d,
    PadChannels,
    PositionBatchNorm,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    StdConv2d,
    StochasticDepth,
)
from resnet_spec.operations.fields import UNPADDED, Shape
from resnet_spec.operations.windows import explicit_crop, fixed_same_padding
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.layers import (
    EvoNormalization,
    FilterResponseNormalization,
    MaskedAveragePooling2D,
    SamePadding2D,
    StandardizedConv2D,
    UnbiasedBatchNormalization,
)
from resnet_spec_tensorflow.padding import CHANNELS_LAST, Pad, mode_of, zeros

Steps: TypeAlias = tuple[Callable[[Any], Any], ...]
"""Applied one after another to a Keras tensor (a list of them, for an operation that joins)."""


@dataclass(frozen=True)
class Site:
    """Where an operation stands: what its layers are called, their dtype policy, and what is known of its input.

    ``producers`` are the operations whose values reach the layer, over all its calls, and ``shapes`` the shapes of
    those values, channels first and without the batch. ``free_name`` makes a name that no other layer has.
    """

    name: str
    policy: Any
    producers: frozenset[str]
    shapes: frozenset[Shape]
    exact_statistics: bool
    free_name: Callable[[str], str]

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of the layer that bears the node's name."""
        return {"name": self.name, "dtype": self.policy}

    def helper(self, kind: str) -> dict[str, Any]:
        """Arguments of a layer beside that one."""
        return {"name": self.free_name(f"{self.name}.{kind}"), "dtype": self.policy}

    @property
    def rank(self) -> int:
        """How many axes its input has, without the batch; raises BackendError where the calls differ."""
        ranks = {len(shape) for shape in self.shapes}
        if len(ranks) > 1:
            raise BackendError(Problem("Keras calls no layer on values of different ranks", self.name))
        return ranks.pop()

    def fed_by(self, *ops: str) -> bool:
        """Whether nothing but the values of these operations reaches the layer."""
        return self.producers <= {*ops}


Emitter: TypeAlias = Callable[[Any, Site], Steps]

EMITTERS: Table[Emitter] = Table("emitter")
"""Every emitter by the name of its operation."""


def emit(operation: Operation, site: Site) -> Steps:
    """The steps of one operation; raises BackendError where Keras cannot express it."""
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the tensorflow backend has no {operation.op}", site.name))
    return EMITTERS[operation.op](operation, site)


# ---------------------------------------------------------------------------------------------------------------
# Convolutions and linear layers


@EMITTERS.register("conv2d")
def _conv2d(op: Conv2d, site: Site) -> Steps:
    return _convolution(keras.layers.Conv2D, op, site)


@EMITTERS.register("std_conv2d")
def _std_conv2d(op: StdConv2d, site: Site) -> Steps:
    return _convolution(StandardizedConv2D, op, site, epsilon=op.epsilon)


def _convolution(layer: Any, op: Conv2d | StdConv2d, site: Site, **more: Any) -> Steps:
    # A kernel of one row or column has nothing to dilate, and Keras refuses a stride beside a dilation.
    dilation = tuple(d if k > 1 else 1 for k, d in zip(op.kernel, op.dilation, strict=True))
    if max(op.stride) > 1 and max(dilation) > 1:
        raise BackendError(Problem("TensorFlow has no convolution that is both strided and dilated", site.name))
    mode = mode_of(op)
    conv = layer(
        op.channels,
        op.kernel,
        strides=op.stride,
        padding=mode or "valid",
        data_format=CHANNELS_LAST,
        dilation_rate=dilation,
        groups=op.groups,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **more,
        **site.common,
    )
    if mode is None and op.padding != "same":
        return zeros(op.padding, **site.helper("pad")), conv
    return (conv,)


@EMITTERS.register("conv_transpose2d")
def _conv_transpose2d(op: ConvTranspose2d, site: Site) -> Steps:
    same = op.crop == explicit_crop(op.kernel, op.stride, "same")
    conv = keras.layers.Conv2DTranspose(
        op.channels,
        op.kernel,
        strides=op.stride,
        padding="same" if same else "valid",
        # Else Keras adds rows where the kernel is smaller than the stride.
        output_padding=None if same else 0,
        data_format=CHANNELS_LAST,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **site.common,
    )
    if same or op.padding == UNPADDED:
        return (conv,)
    return conv, keras.layers.Cropping2D(op.padding, data_format=CHANNELS_LAST, **site.helper("crop"))


@EMITTERS.register("conv1d")
def _conv1d(op: Conv1d, site: Site) -> Steps:
    same = (op.padding, op.padding) == fixed_same_padding(op.kernel, 1)
    conv = keras.layers.Conv1D(
        op.channels,
        op.kernel,
        padding="same" if same else "valid",
        data_format=CHANNELS_LAST,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **site.common,
    )
    if same or not op.padding:
        return (conv,)
    return Pad(((op.padding, op.padding),), 0.0, site.helper("pad")["name"]), conv


@EMITTERS.register("linear")
def _linear(op: Linear, site: Site) -> Steps:
    return (keras.layers.Dense(op.features, use_bias=op.bias, kernel_initializer="zeros", **site.common),)


# ---------------------------------------------------------------------------------------------------------------
# Normalizations, activations, what acts in training only


@EMITTERS.register("batch_norm")
def _batch_norm(op: BatchNorm, site: Site) -> Steps:
    return (_batch_normalization(op, site),)


@EMITTERS.register("position_batch_norm")
def _position_batch_norm(op: PositionBatchNorm, site: Site) -> Steps:
    # Every call has the same, since the parameters have.
    (shape,) = site.shapes
    flat = keras.layers.Reshape((prod(shape),), **site.helper("flat"))
    return flat, _batch_normalization(op, site), keras.layers.Reshape(_channels_last(shape), **site.helper("map"))


def _batch_normalization(op: BatchNorm | PositionBatchNorm, site: Site) -> Any:
    unbiased = site.exact_statistics and op.running_variance == "unbiased"
    layer = UnbiasedBatchNormalization if unbiased else keras.layers.BatchNormalization
    # Rounded, so that a momentum of 0.01 gives Keras' 0.99 and not 0.98999….
    momentum = round(1 - op.momentum, 12)
    return layer(axis=-1, momentum=momentum, epsilon=op.epsilon, scale=op.scale, center=op.offset, **site.common)


@EMITTERS.register("group_norm")
def _group_norm(op: GroupNorm, site: Site) -> Steps:
    return (
        keras.layers.GroupNormalization(
            op.groups, axis=-1, epsilon=op.epsilon, scale=op.scale, center=op.offset, **site.common
        ),
    )


@EMITTERS.register("evo_norm_s0")
def _evo_norm_s0(op: EvoNormS0, site: Site) -> Steps:
    return (EvoNormalization(op.groups, epsilon=op.epsilon, **site.common),)


@EMITTERS.register("filter_response_norm")
def _filter_response_norm(op: FilterResponseNorm, site: Site) -> Steps:
    return (FilterResponseNormalization(epsilon=op.epsilon, threshold=op.threshold, **site.common),)


@EMITTERS.register("relu")
def _relu(op: ReLU, site: Site) -> Steps:
    return (keras.layers.ReLU(**site.common),)


@EMITTERS.register("sigmoid")
def _sigmoid(op: Sigmoid, site: Site) -> Steps:
    return (keras.layers.Activation("sigmoid", **site.common),)


@EMITTERS.register("softmax")
def _softmax(op: Softmax, site: Site) -> Steps:
    return (keras.layers.Softmax(axis=-1, **site.common),)


@EMITTERS.register("dropout")
def _dropout(op: Dropout, site: Site) -> Steps:
    return (keras.layers.Dropout(op.rate, **site.common),)


@EMITTERS.register("stochastic_depth")
def _stochastic_depth(op: StochasticDepth, site: Site) -> Steps:
    return (keras.layers.Dropout(op.rate, noise_shape=(None, *[1] * site.rank), **site.common),)


# ---------------------------------------------------------------------------------------------------------------
# Pools


@EMITTERS.register("max_pool2d")
def _max_pool2d(op: MaxPool2d, site: Site) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    pool = keras.layers.MaxPooling2D(
        op.kernel, strides=op.stride, padding=mode or "valid", data_format=CHANNELS_LAST, **site.common
    )
    if mode is not None or edges is None:
        return (pool,)
    pad = site.helper("pad")
    if site.fed_by("relu"):
        # A zero never beats what a ReLU puts out, no window is padding only, and a layer is plainer than an operation.
        return zeros(edges, **pad), pool
    return Pad(edges, float("-inf"), pad["name"]), pool


@EMITTERS.register("avg_pool2d")
def _avg_pool2d(op: AvgPool2d, site: Site) -> Steps:
    mode, edges = mode_of(op), op.fixed_padding
    window = {"pool_size": op.kernel, "strides": op.stride, "data_format": CHANNELS_LAST, **site.common}
    # What ceil_mode adds never counts.
    explicit = edges if op.padding == "same" else op.padding
    counted = explicit if op.count_include_pad else UNPADDED
    if mode is not None and counted == UNPADDED:
        return (keras.layers.AveragePooling2D(padding=mode, **window),)
    if edges is None:
        pad = SamePadding2D(op.kernel, op.stride, **site.helper("pad"))
    elif edges == counted:
        pad = zeros(edges, **site.helper("pad"))
    else:
        return (MaskedAveragePooling2D(edges=edges, counted=counted, **window),)
    return pad, keras.layers.AveragePooling2D(**window)


@EMITTERS.register("global_avg_pool")
def _global_avg_pool(op: GlobalAvgPool, site: Site) -> Steps:
    return (keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, keepdims=True, **site.common),)


@EMITTERS.register("global_max_pool")
def _global_max_pool(op: GlobalMaxPool, site: Site) -> Steps:
    return (keras.layers.GlobalMaxPooling2D(data_format=CHANNELS_LAST, keepdims=True, **site.common),)


# ---------------------------------------------------------------------------------------------------------------
# Paddings, reshapings, joins


@EMITTERS.register("pad2d")
def _pad2d(op: Pad2d, site: Site) -> Steps:
    if op.mode == "reflect":
        return (Pad(op.padding, None, site.name),)
    return (Pad(op.padding, op.value, site.name) if op.value else zeros(op.padding, **site.common),)


@EMITTERS.register("pad_channels")
def _pad_channels(op: PadChannels, site: Site) -> Steps:
    # Called channels first, a layer of Keras pads the last two axes: here the width, by nothing, and the channels.
    edges = ((0, 0), (op.before, op.after))
    return (keras.layers.ZeroPadding2D(edges, data_format="channels_first", **site.common),)


@EMITTERS.register("flatten")
def _flatten(op: Flatten, site: Site) -> Steps:
    flatten = keras.layers.Flatten(data_format=CHANNELS_LAST, **site.common)
    # A map of 1×1 for another reason may be larger at another input size.
    pooled = site.fed_by("global_avg_pool", "global_max_pool")
    if pooled or all(len(shape) == 1 or shape[0] == 1 for shape in site.shapes):
        return (flatten,)
    return _to_channels_first(site), flatten


@EMITTERS.register("reshape")
def _reshape(op: Reshape, site: Site) -> Steps:
    before = () if all(map(_same_either_way, site.shapes)) else (_to_channels_first(site),)
    if _same_either_way(op.shape):
        return *before, keras.layers.Reshape(_channels_last(op.shape), **site.common)
    to_channels_last = keras.layers.Permute((*range(2, len(op.shape) + 1), 1), **site.common)
    return *before, keras.layers.Reshape(op.shape, **site.helper("reshape")), to_channels_last


def _to_channels_first(site: Site) -> Any:
    return keras.layers.Permute((site.rank, *range(1, site.rank)), **site.helper("permute"))


def _same_either_way(shape: Shape) -> bool:
    """Whether values follow one another in the same order, channels first or last."""
    return shape[0] == 1 or prod(shape[1:]) == 1


def _channels_last(shape: Shape) -> Shape:
    return (*shape[1:], shape[0])


@EMITTERS.register("add")
def _add(op: Add, site: Site) -> Steps:
    return (keras.layers.Add(**site.common),)


@EMITTERS.register("multiply")
def _multiply(op: Multiply, site: Site) -> Steps:
    return (keras.layers.Multiply(**site.common),)
