"""The closed set of operations: one class holds everything the core knows of each.

A class gives an operation's fields, its output shape, its parameters with their roles, and its
multiply-accumulates. What is made of several operations (a residual block, squeeze-and-excitation, a deep stem) is
a block, written in YAML. Shapes leave out the batch: ``(channels, height, width)``, ``(channels, length)`` or
``(features,)``.

What frameworks default differently has no default here (epsilon, momentum, which running variance), or is written
out whenever a graph is (bias).
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from math import prod
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resnet_spec.fields import (
    UNPADDED,
    Count,
    Epsilon,
    ExplicitPadding,
    Extent,
    Flag,
    Padding,
    Pair,
    Rate,
    Real,
    Shape,
    ShapeError,
    as_text,
    need_map,
    need_vector,
    window_counts,
)


class Role(StrEnum):
    """What a parameter is, hence how each framework lays it out and names it."""

    CONV_KERNEL = "conv_kernel"
    CONV_BIAS = "conv_bias"
    CONV_TRANSPOSE_KERNEL = "conv_transpose_kernel"
    LINEAR_KERNEL = "linear_kernel"
    LINEAR_BIAS = "linear_bias"
    NORM_SCALE = "norm_scale"
    NORM_OFFSET = "norm_offset"
    NORM_MEAN = "norm_mean"
    NORM_VARIANCE = "norm_variance"
    NORM_GATE = "norm_gate"
    NORM_THRESHOLD = "norm_threshold"
    POSITION_SCALE = "position_scale"
    POSITION_OFFSET = "position_offset"
    POSITION_MEAN = "position_mean"
    POSITION_VARIANCE = "position_variance"

    @property
    def trainable(self) -> bool:
        return self not in STATISTICS


KERNELS = frozenset({Role.CONV_KERNEL, Role.CONV_TRANSPOSE_KERNEL, Role.LINEAR_KERNEL})
BIASES = frozenset({Role.CONV_BIAS, Role.LINEAR_BIAS})
SCALES = frozenset({Role.NORM_SCALE, Role.POSITION_SCALE})
OFFSETS = frozenset({Role.NORM_OFFSET, Role.POSITION_OFFSET})
MEANS = frozenset({Role.NORM_MEAN, Role.POSITION_MEAN})
VARIANCES = frozenset({Role.NORM_VARIANCE, Role.POSITION_VARIANCE})
STATISTICS = MEANS | VARIANCES

NORMALIZING, TRANSCENDENTAL = 8, 4
"""Roundings of a value that is normalised, beside those of the sums behind mean and variance where they are of the
input itself, and of one that goes through an exponential."""


class ParameterSlot(NamedTuple):
    """One array that an operation owns: its name within the layer, its shape as PyTorch lays it out, its role."""

    name: str
    shape: Shape
    role: Role


class Category(StrEnum):
    """Groups of operations, as a summary shows them: joins, reshapings and output functions have no row."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    POOLING = "pooling"
    REGULARIZATION = "regularization"
    JOIN = "join"
    RESHAPING = "reshaping"
    OUTPUT = "output"


Stride: TypeAlias = tuple[Fraction, Fraction]
"""Rows and columns of the input to one of the output; below 1 where a map grows."""

SAME_RESOLUTION: Stride = (Fraction(1), Fraction(1))


def _mapping(data: Any) -> dict[str, Any]:
    """A model's input as a mapping of fields; empty where it is something else."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


# ---------------------------------------------------------------------------------------------------------------
# What several operations share


class BaseOperation(BaseModel):
    """What every operation answers; fields are the attributes written in a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: ClassVar[Category]
    label: ClassVar[str]
    joins: ClassVar[bool] = False
    """Whether it takes two inputs or more; the others take exactly one."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """What a spec may write besides the fields, and a graph never holds."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """The output's shape; raises ShapeError where the inputs do not suit."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        """The arrays a layer of this operation owns, in a state_dict's order."""
        return ()

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Multiply-accumulates of one image; convolutions and linear layers count, nothing else does."""
        return 0

    def roundings(self, *inputs: Shape) -> int:
        """How many roundings in a row a value may meet on its way through: the terms of a sum, or 0 for a choice."""
        return 0

    def resolution(self) -> Stride | None:
        """How much coarser the output is than the input; None where it is no map in the input's sense any more."""
        return SAME_RESOLUTION


def _coarser(stride: tuple[int, int]) -> Stride:
    return Fraction(stride[0]), Fraction(stride[1])


class _Convolution(BaseOperation):
    """A window of weights that slides over a map."""

    category = Category.CONVOLUTION

    channels: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = UNPADDED
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        if shape[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} input and {self.channels} output channels")
        return (self.channels, *window_counts(shape, self.kernel, self.stride, self.padding, self.dilation))

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.channels, inputs[0][0] // self.groups, *self.kernel), Role.CONV_KERNEL)
        return (kernel, ParameterSlot("bias", (self.channels,), Role.CONV_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * (inputs[0][0] // self.groups) * prod(self.kernel)

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] // self.groups * prod(self.kernel) + self.bias

    def resolution(self) -> Stride | None:
        return _coarser(self.stride)


class _BatchNormalization(BaseOperation):
    """Normalisation by the statistics of a batch, which are kept for inference.

    ``momentum`` is the weight of the newest batch in the running statistics, as PyTorch counts it; a spec may say
    ``decay`` instead, the weight of the old value, as Keras and TensorFlow count it. ``running_variance`` says
    whether the variance that is kept is divided by n-1 (``unbiased``, PyTorch) or by n (``biased``, Keras).
    """

    category = Category.NORMALIZATION
    aliases = ("decay",)

    epsilon: Epsilon
    momentum: Annotated[Real, Field(ge=0, le=1)]
    running_variance: Literal["biased", "unbiased"]
    scale: Flag = True
    offset: Flag = True

    @model_validator(mode="before")
    @classmethod
    def _momentum_from_decay(cls, data: Any) -> Any:
        fields = _mapping(data)
        decay = fields.get("decay")
        if "momentum" in fields and "decay" in fields:
            raise ValueError("takes momentum or decay, which is 1 - momentum, not both")
        if "momentum" in fields or isinstance(decay, bool) or not isinstance(decay, int | float):
            return cast("object", data)
        # Rounded, so that a decay of 0.99 is the same graph as a momentum of 0.01.
        return {k: v for k, v in fields.items() if k != "decay"} | {"momentum": round(1 - decay, 12)}

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_map(inputs[0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING

    def _slots(self, shape: Shape, roles: tuple[Role, Role, Role, Role]) -> tuple[ParameterSlot, ...]:
        scale, offset, mean, variance = roles
        affine = [ParameterSlot("weight", shape, scale)] if self.scale else []
        if self.offset:
            affine.append(ParameterSlot("bias", shape, offset))
        return (*affine, ParameterSlot("running_mean", shape, mean), ParameterSlot("running_var", shape, variance))


class _Pool(BaseOperation):
    """A window that slides over each channel of a map; its stride is the window unless stated."""

    category = Category.POOLING

    kernel: Pair
    stride: Pair
    padding: Padding = UNPADDED
    ceil_mode: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _stride_from_kernel(cls, data: Any) -> Any:
        fields = _mapping(data)
        if not fields or "stride" in fields:
            return cast("object", data)
        # Without a kernel, that alone is told to be missing.
        return fields | {"stride": fields.get("kernel", 1)}

    @model_validator(mode="after")
    def _some_input_in_every_window(self) -> _Pool:
        if self.padding == "same":
            if self.ceil_mode:
                raise ValueError("'same' already rounds up: it takes no ceil_mode")
            return self
        for kernel, edges in zip(self.kernel, self.padding, strict=True):
            if 2 * max(edges) > kernel:
                raise ValueError(f"a pool's padding may be at most half its kernel, {kernel}, not {max(edges)}")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        counts = window_counts(shape, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return (shape[0], *counts)

    def resolution(self) -> Stride | None:
        return _coarser(self.stride)


class _GlobalPool(BaseOperation):
    """One value for each channel of a map, kept as a map of 1×1."""

    category = Category.POOLING

    def output_shape(self, *inputs: Shape) -> Shape:
        return (need_map(inputs[0])[0], 1, 1)

    def resolution(self) -> Stride | None:
        return None


class _Activation(BaseOperation):
    """A function of each element."""

    category = Category.ACTIVATION


class _Regularization(BaseOperation):
    """What acts in training only: in inference the value itself."""

    category = Category.REGULARIZATION

    rate: Rate


class _Grouped(BaseOperation):
    """A normalisation over groups of channels and all positions of one image."""

    category = Category.NORMALIZATION

    groups: Count
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        if shape[0] % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} channels")
        return shape

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0]) // self.groups


# ---------------------------------------------------------------------------------------------------------------
# Operations


class Conv2d(_Convolution):
    """2-d cross-correlation; the kernel is (channels, input channels / groups, height, width)."""

    label = "Conv2d"

    op: Literal["conv2d"]


class StdConv2d(_Convolution):
    """A convolution whose kernel is standardised before use: mean 0 and variance 1 over each output channel's weights.

    Qiao et al. 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization"; the variance
    is divided by n, and ``epsilon`` is added to it.
    """

    label = "StdConv2d"

    op: Literal["std_conv2d"]
    epsilon: Epsilon


class ConvTranspose2d(BaseOperation):
    """The transpose of a convolution, by which a map grows; the kernel is (input channels, channels, height, width).

    ``padding`` crops the output, as PyTorch has it. With ``same`` the output is the stride times the input: the
    transpose of a TensorFlow convolution with ``same`` padding, also where the kernel is smaller than the stride.
    """

    category = Category.CONVOLUTION
    label = "ConvTranspose2d"

    op: Literal["conv_transpose2d"]
    channels: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = UNPADDED
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        sizes = need_map(inputs[0])[1:]
        if self.padding == "same":
            return (self.channels, sizes[0] * self.stride[0], sizes[1] * self.stride[1])
        height, width = (
            (size - 1) * stride + kernel - sum(edges)
            for size, stride, kernel, edges in zip(sizes, self.stride, self.kernel, self.padding, strict=True)
        )
        if min(height, width) < 1:
            raise ShapeError(f"the feature map vanishes: nothing is left of {as_text(inputs[0])} after the crop")
        return (self.channels, height, width)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (inputs[0][0], self.channels, *self.kernel), Role.CONV_TRANSPOSE_KERNEL)
        return (kernel, ParameterSlot("bias", (self.channels,), Role.CONV_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(inputs[0]) * self.channels * prod(self.kernel)

    def roundings(self, *inputs: Shape) -> int:
        meeting = (-(-kernel // stride) for kernel, stride in zip(self.kernel, self.stride, strict=True))
        return inputs[0][0] * prod(meeting) + self.bias

    def resolution(self) -> Stride | None:
        return Fraction(1, self.stride[0]), Fraction(1, self.stride[1])


class Conv1d(BaseOperation):
    """1-d cross-correlation of a (channels, length) input; the kernel is (channels, input channels, length)."""

    category = Category.CONVOLUTION
    label = "Conv1d"

    op: Literal["conv1d"]
    channels: Count
    kernel: Annotated[Extent, Field(ge=1)]
    padding: Extent = 0
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 2:
            raise ShapeError(f"needs channels × length, not {as_text(inputs[0])}")
        length = inputs[0][1] + 2 * self.padding - self.kernel + 1
        if length < 1:
            raise ShapeError(f"a window of {self.kernel} does not fit an input of {as_text(inputs[0])}")
        return (self.channels, length)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.channels, inputs[0][0], self.kernel), Role.CONV_KERNEL)
        return (kernel, ParameterSlot("bias", (self.channels,), Role.CONV_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * inputs[0][0] * self.kernel

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] * self.kernel + self.bias

    def resolution(self) -> Stride | None:
        return None


class Linear(BaseOperation):
    """Matrix product with a (features, input features) kernel."""

    category = Category.LINEAR
    label = "Linear"

    op: Literal["linear"]
    features: Count
    bias: Flag = True

    def output_shape(self, *inputs: Shape) -> Shape:
        need_vector(inputs[0])
        return (self.features,)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.features, inputs[0][0]), Role.LINEAR_KERNEL)
        return (kernel, ParameterSlot("bias", (self.features,), Role.LINEAR_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return inputs[0][0] * self.features

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] + self.bias

    def resolution(self) -> Stride | None:
        return None


class BatchNorm(_BatchNormalization):
    """Batch normalisation over batch, height and width."""

    label = "BatchNorm2d"

    op: Literal["batch_norm"]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.NORM_SCALE, Role.NORM_OFFSET, Role.NORM_MEAN, Role.NORM_VARIANCE)
        return self._slots((inputs[0][0],), roles)


class PositionBatchNorm(_BatchNormalization):
    """Batch normalisation over the batch alone: each channel has statistics, scale and offset at each position."""

    label = "PositionBatchNorm2d"

    op: Literal["position_batch_norm"]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.POSITION_SCALE, Role.POSITION_OFFSET, Role.POSITION_MEAN, Role.POSITION_VARIANCE)
        return self._slots(inputs[0], roles)


class GroupNorm(_Grouped):
    """Normalisation of each image over groups of channels and all positions (Wu and He 2018)."""

    label = "GroupNorm"

    op: Literal["group_norm"]
    scale: Flag = True
    offset: Flag = True

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        scale = (ParameterSlot("weight", shape, Role.NORM_SCALE),) if self.scale else ()
        return (*scale, ParameterSlot("bias", shape, Role.NORM_OFFSET)) if self.offset else scale


class EvoNormS0(_Grouped):
    """Normalisation and activation in one (Liu et al. 2020, EvoNorm-S0).

    x · sigmoid(v · x) / sqrt(variance + epsilon) · scale + offset, with a biased variance over each group of channels
    and all positions.
    """

    label = "EvoNormS0"

    op: Literal["evo_norm_s0"]

    def roundings(self, *inputs: Shape) -> int:
        return super().roundings(*inputs) + TRANSCENDENTAL

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        return (
            ParameterSlot("weight", shape, Role.NORM_SCALE),
            ParameterSlot("bias", shape, Role.NORM_OFFSET),
            ParameterSlot("v", shape, Role.NORM_GATE),
        )


class FilterResponseNorm(BaseOperation):
    """Division by each channel's root mean square over all positions (Singh and Krishnan 2020).

    x / sqrt(mean(x²) + epsilon) · scale + offset; with ``threshold`` the paper's activation follows, a thresholded
    linear unit: the larger of that and a learned ``tau``.
    """

    category = Category.NORMALIZATION
    label = "FilterResponseNorm"

    op: Literal["filter_response_norm"]
    epsilon: Epsilon
    threshold: Flag

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_map(inputs[0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0][1:])

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        affine = ParameterSlot("weight", shape, Role.NORM_SCALE), ParameterSlot("bias", shape, Role.NORM_OFFSET)
        return (*affine, ParameterSlot("tau", shape, Role.NORM_THRESHOLD)) if self.threshold else affine


class ReLU(_Activation):
    """max(x, 0)."""

    label = "ReLU"

    op: Literal["relu"]


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    label = "Sigmoid"

    op: Literal["sigmoid"]

    def roundings(self, *inputs: Shape) -> int:
        return TRANSCENDENTAL


class Softmax(BaseOperation):
    """Softmax over the features, turning logits into probabilities; a comparison looks at its input."""

    category = Category.OUTPUT
    label = "Softmax"

    op: Literal["softmax"]

    def roundings(self, *inputs: Shape) -> int:
        return inputs[0][0] + TRANSCENDENTAL

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError(f"needs a vector, not {as_text(inputs[0])}")
        return inputs[0]


class Dropout(_Regularization):
    """Elements are zeroed at random in training, each with probability ``rate``, and the others scaled up."""

    label = "Dropout"

    op: Literal["dropout"]


class StochasticDepth(_Regularization):
    """The whole value of an image is zeroed at random in training, with probability ``rate`` (Huang et al. 2016)."""

    label = "StochasticDepth"

    op: Literal["stochastic_depth"]


class MaxPool2d(_Pool):
    """Largest value of each window; padding counts as minus infinity (a zero pad is a ``pad2d`` before the pool)."""

    label = "MaxPool2d"

    op: Literal["max_pool2d"]


class AvgPool2d(_Pool):
    """Mean of each window; ``count_include_pad`` says whether the padding's zeros count as values of it."""

    label = "AvgPool2d"

    op: Literal["avg_pool2d"]
    count_include_pad: Flag

    def roundings(self, *inputs: Shape) -> int:
        return prod(self.kernel)

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_count(cls, data: Any) -> Any:
        fields = _mapping(data)
        if fields.get("padding", 0) not in (0, UNPADDED, [[0, 0], [0, 0]]):
            return cast("object", data)
        return {"count_include_pad": False} | fields


class GlobalAvgPool(_GlobalPool):
    """Mean over height and width, kept as a map of 1×1."""

    label = "AdaptiveAvgPool2d"

    op: Literal["global_avg_pool"]

    def roundings(self, *inputs: Shape) -> int:
        return prod(inputs[0][1:])


class GlobalMaxPool(_GlobalPool):
    """Largest value over height and width, kept as a map of 1×1."""

    label = "AdaptiveMaxPool2d"

    op: Literal["global_max_pool"]


class Pad2d(BaseOperation):
    """Rows and columns around a map: of a constant, or its own mirrored in its edge, which is not repeated."""

    category = Category.RESHAPING
    label = "Pad2d"

    op: Literal["pad2d"]
    padding: ExplicitPadding
    mode: Literal["constant", "reflect"] = "constant"
    value: Real = 0.0

    @model_validator(mode="after")
    def _one_meaning(self) -> Pad2d:
        if self.mode == "reflect" and self.value:
            raise ValueError("a reflecting pad has no value")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_map(inputs[0])
        if self.mode == "reflect" and (max(self.padding[0]) >= height or max(self.padding[1]) >= width):
            raise ShapeError(f"{as_text(inputs[0])} has too few rows or columns to mirror")
        return channels, height + sum(self.padding[0]), width + sum(self.padding[1])


class PadChannels(BaseOperation):
    """Channels of zeros before and after those of a map."""

    category = Category.RESHAPING
    label = "PadChannels"

    op: Literal["pad_channels"]
    before: Annotated[int, Field(strict=True, ge=0, le=2**20)] = 0
    after: Annotated[int, Field(strict=True, ge=0, le=2**20)] = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_map(inputs[0])
        return self.before + channels + self.after, height, width


class Flatten(BaseOperation):
    """A map as a vector, in PyTorch's order (channels, height, width) in every backend."""

    category = Category.RESHAPING
    label = "Flatten"

    op: Literal["flatten"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)

    def resolution(self) -> Stride | None:
        return None


class Reshape(BaseOperation):
    """The same values in another shape, in PyTorch's order (channels first) in every backend."""

    category = Category.RESHAPING
    label = "Reshape"

    op: Literal["reshape"]
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(f"cannot lay {as_text(inputs[0])} out as {as_text(self.shape)}")
        return self.shape

    def resolution(self) -> Stride | None:
        return None


class Add(BaseOperation):
    """Sum of maps of equal shape."""

    category = Category.JOIN
    label = "Add"
    joins = True

    op: Literal["add"]

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - 1

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) != 1:
            raise ShapeError(f"cannot add {' and '.join(map(as_text, inputs))}")
        return inputs[0]


class Multiply(BaseOperation):
    """Elementwise product; an input of 1×1 scales each channel of the first."""

    category = Category.JOIN
    label = "Multiply"
    joins = True

    op: Literal["multiply"]

    def roundings(self, *inputs: Shape) -> int:
        return len(inputs) - 1

    def output_shape(self, *inputs: Shape) -> Shape:
        for other in inputs[1:]:
            if other != inputs[0] and other != (inputs[0][0], 1, 1):
                raise ShapeError(f"cannot multiply {as_text(inputs[0])} by {as_text(other)}")
        return inputs[0]


AnyOperation: TypeAlias = (
    Conv2d
    | StdConv2d
    | ConvTranspose2d
    | Conv1d
    | Linear
    | BatchNorm
    | PositionBatchNorm
    | GroupNorm
    | EvoNormS0
    | FilterResponseNorm
    | ReLU
    | Sigmoid
    | Softmax
    | Dropout
    | StochasticDepth
    | MaxPool2d
    | AvgPool2d
    | GlobalAvgPool
    | GlobalMaxPool
    | Pad2d
    | PadChannels
    | Flatten
    | Reshape
    | Add
    | Multiply
)

Operation = Annotated[AnyOperation, Field(discriminator="op")]

OPERATIONS: dict[str, type[AnyOperation]] = {
    get_args(cls.model_fields["op"].annotation)[0]: cls for cls in get_args(AnyOperation)
}
"""Every operation by the name a spec gives it."""
