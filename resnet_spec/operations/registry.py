"""The closed set of operations, and the table of their names."""

from __future__ import annotations

from collections.abc import Iterable
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
from resnet_spec.operations.convolution import Conv, ConvTranspose, StdConv
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
from resnet_spec.operations.regularization import Dropout, StochasticDepth
from resnet_spec.operations.reshaping import Flatten, Pad, PadChannels, Reshape, Slice, Transpose
from resnet_spec.operations.resizing import Resize

AnyOperation: TypeAlias = (
    Conv
    | StdConv
    | ConvTranspose
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
    | MaxPool
    | AvgPool
    | GlobalAvgPool
    | GlobalMaxPool
    | GeMPool
    | Mean
    | Max
    | Sum
    | Pad
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
    name: cls for cls in get_args(AnyOperation) for name in get_args(cls.model_fields["op"].annotation)
}
"""Every operation by its name in a graph."""

ANY_RANK: dict[str, type[AnyOperation]] = {
    f"{name.removesuffix('1d')}_nd": cls for name, cls in OPERATIONS.items() if name.endswith("1d")
}
"""Operations by the name that a spec may write for any rank: ``conv_nd`` for ``conv1d``, ``conv2d`` and ``conv3d``."""

WORDS: dict[str, type[AnyOperation]] = {**OPERATIONS, **ANY_RANK}
"""Every operation by each name that a spec may write."""

_FAMILY = {word: cls for word, cls in WORDS.items() if cls in ANY_RANK.values()}


def same_operation(word: str, words: Iterable[str]) -> str | None:
    """The one of some words that names the same operation for another rank: ``conv_nd`` for ``conv2d``; None if none.

    Args:
        word: An operation's word, or any other.
        words: The words to choose from.

    Returns:
        The first such word.

    Examples:
        >>> same_operation("conv2d", ["bias", "conv_nd"])
        'conv_nd'
    """
    family = _FAMILY.get(word)
    return next((other for other in words if family is not None and _FAMILY.get(other) is family), None)
