"""From a graph's operations to PyTorch: one function per operation, in a module per group of operations.

The modules are those of ``resnet_spec.operations``; importing this package fills the tables with all of them.
"""

from resnet_spec_torch.emitting import (
    activation,
    convolution,
    joining,
    learned,
    linear,
    normalization,
    pooling,
    reduction,
    regularization,
    reshaping,
    resizing,
)
from resnet_spec_torch.emitting.emitters import (
    EXPRESSIONS,
    IN_PLACE,
    LAYERS,
    NEW_VALUE,
    PARAMETERS,
    Options,
    expression,
)

__all__ = [
    "EXPRESSIONS",
    "IN_PLACE",
    "LAYERS",
    "NEW_VALUE",
    "PARAMETERS",
    "Options",
    "activation",
    "convolution",
    "expression",
    "joining",
    "learned",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "regularization",
    "reshaping",
    "resizing",
]
