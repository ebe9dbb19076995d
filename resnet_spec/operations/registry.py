"""The closed set of operations, and the table of their names."""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from resnet_spec.operations.activation import (
    ELU,
    GELU,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from resnet_spec.operations.convolution import Conv1d, Conv2d, ConvTranspose2d, StdConv2d
from resnet_spec.operations.joining import Add, Concat, Maximum, Multiply, Subtract
from resnet_spec.operations.learned import LearnedValue, Offset, Scale
from resnet_spec.operations.linear import Linear, MatMul
from resnet_spec.operations.normalization import (
    BatchNorm,
    EvoNormS0,
    FilterResponseNorm,
    GroupNorm,
    InstanceNorm,
    L2Normalize,
    LayerNorm,
    PositionBatchNorm,
)
from resnet_spec.operations.pooling import AvgPool2d, GeMPool, GlobalAvgPool, GlobalMaxPool, MaxPool2d
from resnet_spec.operations.reduction import Max, Mean, Sum
from resnet_spec.operations.regularization import Dropout, StochasticDepth
from resnet_spec.operations.reshaping import Flatten, Pad2d, PadChannels, Reshape, Slice, Transpose
from resnet_spec.operations.resizing import Resize

AnyOperation: TypeAlias = (
    Conv2d
    | StdConv2d
    | ConvTranspose2d
    | Conv1d
    | Linear
    | MatMul
    | Scale
    | Offset
    | LearnedValue
    | BatchNorm
    | PositionBatchNorm
    | GroupNorm
    | LayerNorm
    | InstanceNorm
    | EvoNormS0
    | FilterResponseNorm
    | L2Normalize
    | ReLU
    | ReLU6
    | LeakyReLU
    | PReLU
    | ELU
    | SiLU
    | GELU
    | Mish
    | Sigmoid
    | HardSigmoid
    | HardSwish
    | Tanh
    | Softplus
    | Softmax
    | Dropout
    | StochasticDepth
    | MaxPool2d
    | AvgPool2d
    | GlobalAvgPool
    | GlobalMaxPool
    | GeMPool
    | Mean
    | Max
    | Sum
    | Pad2d
    | PadChannels
    | Flatten
    | Reshape
    | Transpose
    | Slice
    | Resize
    | Concat
    | Add
    | Multiply
    | Subtract
    | Maximum
)


Operation = Annotated[AnyOperation, Field(discriminator="op")]


OPERATIONS: dict[str, type[AnyOperation]] = {
    get_args(cls.model_fields["op"].annotation)[0]: cls for cls in get_args(AnyOperation)
}
"""Every operation by its name in a spec."""
