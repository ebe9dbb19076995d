"""The closed set of operations: one class contains all that the core knows of each.

A class defines an operation's fields, output shape, parameters with their roles, multiply-accumulates and roundings.
What is composed of several operations (a residual block, squeeze-and-excitation, a deep stem) is a block, written in
YAML. Shapes omit the batch: (channels, height, width), (channels, length) or (features,).

What frameworks default differently has no default here (epsilon, momentum, which running variance), or is written out
in every graph (bias).
"""

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
from resnet_spec.operations.base import (
    NORMALIZING,
    TRANSCENDENTAL,
    BaseOperation,
    Category,
    ParameterSlot,
    Stride,
    same_stride,
)
from resnet_spec.operations.convolution import Conv, ConvTranspose, StdConv
from resnet_spec.operations.fields import Shape, ShapeError
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
from resnet_spec.operations.pooling import AvgPool, GeMPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from resnet_spec.operations.reduction import Max, Mean, Sum
from resnet_spec.operations.registry import ANY_RANK, OPERATIONS, WORDS, AnyOperation, Operation
from resnet_spec.operations.regularization import Dropout, StochasticDepth
from resnet_spec.operations.reshaping import Flatten, Pad, PadChannels, Reshape, Slice, Transpose
from resnet_spec.operations.resizing import Resize
from resnet_spec.operations.roles import BIASES, KERNELS, LEARNED, MEANS, OFFSETS, SCALES, STATISTICS, VARIANCES, Role

__all__ = [  # noqa: RUF022 (in the order a reader needs)
    # The set, and what each operation answers
    "OPERATIONS",
    "ANY_RANK",
    "WORDS",
    "Operation",
    "AnyOperation",
    "BaseOperation",
    "Category",
    "Shape",
    "ShapeError",
    # Convolutions, linear layers and learned values
    "Conv",
    "StdConv",
    "ConvTranspose",
    "Linear",
    "MatMul",
    "Scale",
    "Offset",
    "LearnedValue",
    # Normalizations
    "BatchNorm",
    "PositionBatchNorm",
    "GroupNorm",
    "LayerNorm",
    "InstanceNorm",
    "EvoNormS0",
    "FilterResponseNorm",
    "L2Normalize",
    # Activations and regularization
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "SiLU",
    "GELU",
    "Mish",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softmax",
    "Dropout",
    "StochasticDepth",
    # Pools and reductions
    "MaxPool",
    "AvgPool",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GeMPool",
    "Mean",
    "Max",
    "Sum",
    # Reshapings and joins
    "Pad",
    "PadChannels",
    "Flatten",
    "Reshape",
    "Transpose",
    "Slice",
    "Resize",
    "Concat",
    "Add",
    "Multiply",
    "Subtract",
    "Maximum",
    # Parameters and their roles
    "ParameterSlot",
    "Role",
    "KERNELS",
    "BIASES",
    "SCALES",
    "OFFSETS",
    "MEANS",
    "VARIANCES",
    "STATISTICS",
    "LEARNED",
    # Resolution and rounding
    "Stride",
    "same_stride",
    "NORMALIZING",
    "TRANSCENDENTAL",
]
