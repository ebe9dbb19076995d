"""The closed set of operations: one class holds everything the core knows of each.

A class gives an operation's fields, its output shape, its parameters with their roles, and its
multiply-accumulates. What is made of several operations (a residual block, squeeze-and-excitation, a deep stem) is
a block, written in YAML. Shapes leave out the batch: ``(channels, height, width)``, ``(channels, length)`` or
``(features,)``.

What frameworks default differently has no default here (epsilon, momentum, which running variance), or is written
out whenever a graph is (bias).
"""

from resnet_spec.operations.activation import ReLU, Sigmoid, Softmax
from resnet_spec.operations.base import (
    NORMALIZING,
    SAME_RESOLUTION,
    TRANSCENDENTAL,
    BaseOperation,
    Category,
    ParameterSlot,
    Stride,
)
from resnet_spec.operations.convolution import Conv1d, Conv2d, ConvTranspose2d, StdConv2d
from resnet_spec.operations.joining import Add, Multiply
from resnet_spec.operations.linear import Linear
from resnet_spec.operations.normalization import BatchNorm, EvoNormS0, FilterResponseNorm, GroupNorm, PositionBatchNorm
from resnet_spec.operations.pooling import AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d
from resnet_spec.operations.registry import OPERATIONS, AnyOperation, Operation
from resnet_spec.operations.regularization import Dropout, StochasticDepth
from resnet_spec.operations.reshaping import Flatten, Pad2d, PadChannels, Reshape
from resnet_spec.operations.roles import BIASES, KERNELS, MEANS, OFFSETS, SCALES, STATISTICS, VARIANCES, Role

__all__ = [
    "BIASES",
    "KERNELS",
    "MEANS",
    "NORMALIZING",
    "OFFSETS",
    "OPERATIONS",
    "SAME_RESOLUTION",
    "SCALES",
    "STATISTICS",
    "TRANSCENDENTAL",
    "VARIANCES",
    "Add",
    "AnyOperation",
    "AvgPool2d",
    "BaseOperation",
    "BatchNorm",
    "Category",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "EvoNormS0",
    "FilterResponseNorm",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Linear",
    "MaxPool2d",
    "Multiply",
    "Operation",
    "Pad2d",
    "PadChannels",
    "ParameterSlot",
    "PositionBatchNorm",
    "ReLU",
    "Reshape",
    "Role",
    "Sigmoid",
    "Softmax",
    "StdConv2d",
    "StochasticDepth",
    "Stride",
]
