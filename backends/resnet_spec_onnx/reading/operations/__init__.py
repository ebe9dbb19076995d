"""The normal form of the ONNX nodes for each operation; ``resnet_spec.structure.forms`` has that of the operation.

The modules are those of ``resnet_spec.operations``; importing this package fills the table with all of them. A node
that only passes a value on, or changes its layout, adds no step.
"""

from resnet_spec_onnx.reading.operations import (
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
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS

__all__ = [
    "NODE_FORMS",
    "activation",
    "convolution",
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
