"""The closed set of operations: one class holds everything the core knows of each.

A class gives an operation's fields, its output shape, its parameters with their roles, and its
multiply-accumulates. What is made of several operations (a residual block, squeeze-and-excitation, a deep stem) is
a block, written in YAML. Shapes leave out the batch: ``(channels, height, width)`` or ``(features,)``.

What frameworks default differently has no default here (epsilon, momentum, which running variance), or is written
out whenever a graph is (bias).
"""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Shape: TypeAlias = tuple[int, ...]


class ShapeError(ValueError):
    """The shapes an operation is given do not suit it."""


class Role(StrEnum):
    """What a parameter is, hence how each framework lays it out and names it."""

    CONV_KERNEL = "conv_kernel"
    CONV_BIAS = "conv_bias"
    LINEAR_KERNEL = "linear_kernel"
    LINEAR_BIAS = "linear_bias"
    NORM_SCALE = "norm_scale"
    NORM_OFFSET = "norm_offset"
    NORM_MEAN = "norm_mean"
    NORM_VARIANCE = "norm_variance"

    @property
    def trainable(self) -> bool:
        return self not in (Role.NORM_MEAN, Role.NORM_VARIANCE)


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
    JOIN = "join"
    RESHAPING = "reshaping"
    OUTPUT = "output"


# ---------------------------------------------------------------------------------------------------------------
# Field types


def _are_two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(cast("list[Any]", value)) == 2


def _pair(value: Any) -> Any:
    """A number stands for the same in height and width."""
    if isinstance(value, int):
        return value, value
    if not _are_two(value):
        raise ValueError("must be a whole number, or a list of two for height and width")
    return value


def _edges(value: Any) -> Any:
    """A number stands for that many rows and columns on every side."""
    if isinstance(value, int):
        return (value, value), (value, value)
    if not _are_two(value) or not all(map(_are_two, value)):
        raise ValueError("must be a whole number or [[top, bottom], [left, right]]")
    return value


def _padding(value: Any) -> Any:
    return value if value == "same" else _edges(value)


Count = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Extent = Annotated[int, Field(strict=True, ge=0, le=2**12)]
PositiveExtent = Annotated[int, Field(strict=True, ge=1, le=2**12)]
Pair = Annotated[tuple[PositiveExtent, PositiveExtent], BeforeValidator(_pair, json_schema_input_type=Any)]
Edges = tuple[tuple[Extent, Extent], tuple[Extent, Extent]]
ExplicitPadding = Annotated[Edges, BeforeValidator(_edges, json_schema_input_type=Any)]
Padding = Annotated[Literal["same"] | Edges, BeforeValidator(_padding, json_schema_input_type=Any)]
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Rows that ``same`` adds before and after ``size`` rows, as TensorFlow defines it: the odd one goes after.

    >>> same_padding(224, 7, 2, 1)
    (2, 3)
    """
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def symmetric_same(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Edges | None:
    """The explicit padding that equals ``same`` at every input size, or None where there is no such padding."""
    edges: list[tuple[int, int]] = []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        span = d * (k - 1)
        if span and (s > 1 or span % 2):
            return None
        edges.append((span // 2, span // 2))
    return edges[0], edges[1]


def _windows(shape: Shape, op: Conv2d | MaxPool2d) -> tuple[int, int]:
    """Height and width of the output of a window that slides over a (channels, height, width) map."""
    result: list[int] = []
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    for axis, (size, kernel, stride, d) in enumerate(zip(shape[1:], op.kernel, op.stride, dilation, strict=True)):
        before, after = same_padding(size, kernel, stride, d) if op.padding == "same" else op.padding[axis]
        room = size + before + after - d * (kernel - 1) - 1
        result.append(room // stride + 1)
    if min(result) < 1:
        raise ShapeError(
            f"the feature map vanishes: a {op.kernel[0]}×{op.kernel[1]} window does not fit an input of {_text(shape)}"
        )
    return result[0], result[1]


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _mapping(data: Any) -> dict[str, Any]:
    """A model's input as a mapping of fields; empty where it is something else."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _map(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError(f"needs a feature map (channels × height × width), not {_text(shape)}")
    return shape


# ---------------------------------------------------------------------------------------------------------------
# Operations


class BaseOperation(BaseModel):
    """What every operation answers; fields are the attributes written in a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: ClassVar[Category]
    label: ClassVar[str]
    joins: ClassVar[bool] = False
    """Whether it takes two inputs or more; the others take exactly one."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """The output's shape; raises ShapeError where the inputs do not suit."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        """The arrays a layer of this operation owns, in a state_dict's order."""
        return ()

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Multiply-accumulates of one image; convolutions and linear layers count, nothing else does."""
        return 0


class Conv2d(BaseOperation):
    """2-d cross-correlation; the kernel is (channels, input channels / groups, height, width)."""

    category = Category.CONVOLUTION
    label = "Conv2d"

    op: Literal["conv2d"]
    channels: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: Flag = False

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = _map(inputs[0])
        if shape[0] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} input and {self.channels} output channels")
        return (self.channels, *_windows(shape, self))

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.channels, inputs[0][0] // self.groups, *self.kernel), Role.CONV_KERNEL)
        return (kernel, ParameterSlot("bias", (self.channels,), Role.CONV_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return prod(output) * (inputs[0][0] // self.groups) * prod(self.kernel)


class Linear(BaseOperation):
    """Matrix product with a (features, input features) kernel."""

    category = Category.LINEAR
    label = "Linear"

    op: Literal["linear"]
    features: Count
    bias: Flag = True

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError(f"needs a vector, not {_text(inputs[0])}; put a flatten before it")
        return (self.features,)

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        kernel = ParameterSlot("weight", (self.features, inputs[0][0]), Role.LINEAR_KERNEL)
        return (kernel, ParameterSlot("bias", (self.features,), Role.LINEAR_BIAS)) if self.bias else (kernel,)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        return inputs[0][0] * self.features


class BatchNorm(BaseOperation):
    """Batch normalisation over batch, height and width.

    ``momentum`` is the weight of the newest batch in the running statistics, as PyTorch counts it; a spec may say
    ``decay`` instead, the weight of the old value, as Keras and TensorFlow count it. ``running_variance`` says
    whether the variance that is kept is divided by n-1 (``unbiased``, PyTorch) or by n (``biased``, Keras).
    """

    category = Category.NORMALIZATION
    label = "BatchNorm2d"

    op: Literal["batch_norm"]
    epsilon: Annotated[Real, Field(ge=0)]
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
        return _map(inputs[0])

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        affine = [ParameterSlot("weight", shape, Role.NORM_SCALE)] if self.scale else []
        if self.offset:
            affine.append(ParameterSlot("bias", shape, Role.NORM_OFFSET))
        statistics = (
            ParameterSlot("running_mean", shape, Role.NORM_MEAN),
            ParameterSlot("running_var", shape, Role.NORM_VARIANCE),
        )
        return (*affine, *statistics)


class ReLU(BaseOperation):
    """max(x, 0)."""

    category = Category.ACTIVATION
    label = "ReLU"

    op: Literal["relu"]


class Sigmoid(BaseOperation):
    """1 / (1 + exp(-x))."""

    category = Category.ACTIVATION
    label = "Sigmoid"

    op: Literal["sigmoid"]


class Softmax(BaseOperation):
    """Softmax over the features, turning logits into probabilities; a comparison looks at its input."""

    category = Category.OUTPUT
    label = "Softmax"

    op: Literal["softmax"]

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError(f"needs a vector, not {_text(inputs[0])}")
        return inputs[0]


class MaxPool2d(BaseOperation):
    """Largest value of each window; padding counts as minus infinity (a zero pad is a ``pad2d`` before the pool)."""

    category = Category.POOLING
    label = "MaxPool2d"

    op: Literal["max_pool2d"]
    kernel: Pair
    stride: Pair
    padding: Padding = ((0, 0), (0, 0))

    @model_validator(mode="before")
    @classmethod
    def _stride_from_kernel(cls, data: Any) -> Any:
        fields = _mapping(data)
        if "kernel" not in fields or "stride" in fields:
            return cast("object", data)
        return fields | {"stride": fields["kernel"]}

    @model_validator(mode="after")
    def _some_input_in_every_window(self) -> MaxPool2d:
        if self.padding != "same":
            for kernel, edges in zip(self.kernel, self.padding, strict=True):
                if 2 * max(edges) > kernel:
                    raise ValueError(f"a pool's padding may be at most half its kernel, {kernel}, not {max(edges)}")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *_windows(_map(inputs[0]), self))


class GlobalAvgPool(BaseOperation):
    """Mean over height and width, kept as a map of 1×1."""

    category = Category.POOLING
    label = "AdaptiveAvgPool2d"

    op: Literal["global_avg_pool"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return (_map(inputs[0])[0], 1, 1)


class Pad2d(BaseOperation):
    """Rows and columns of a constant around a map."""

    category = Category.RESHAPING
    label = "Pad2d"

    op: Literal["pad2d"]
    padding: ExplicitPadding
    value: Real = 0.0

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = _map(inputs[0])
        return channels, height + sum(self.padding[0]), width + sum(self.padding[1])


class Flatten(BaseOperation):
    """A map as a vector, in PyTorch's order (channels, height, width) in every backend."""

    category = Category.RESHAPING
    label = "Flatten"

    op: Literal["flatten"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)


class Add(BaseOperation):
    """Sum of maps of equal shape."""

    category = Category.JOIN
    label = "Add"
    joins = True

    op: Literal["add"]

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) != 1:
            raise ShapeError(f"cannot add {' and '.join(map(_text, inputs))}")
        return inputs[0]


class Multiply(BaseOperation):
    """Elementwise product; an input of 1×1 scales each channel of the first."""

    category = Category.JOIN
    label = "Multiply"
    joins = True

    op: Literal["multiply"]

    def output_shape(self, *inputs: Shape) -> Shape:
        for other in inputs[1:]:
            if other != inputs[0] and other != (inputs[0][0], 1, 1):
                raise ShapeError(f"cannot multiply {_text(inputs[0])} by {_text(other)}")
        return inputs[0]


AnyOperation: TypeAlias = (
    Conv2d
    | Linear
    | BatchNorm
    | ReLU
    | Sigmoid
    | Softmax
    | MaxPool2d
    | GlobalAvgPool
    | Pad2d
    | Flatten
    | Add
    | Multiply
)

Operation = Annotated[AnyOperation, Field(discriminator="op")]

OPERATIONS: dict[str, type[AnyOperation]] = {
    get_args(cls.model_fields["op"].annotation)[0]: cls for cls in get_args(AnyOperation)
}
"""Every operation by the name a spec gives it."""
