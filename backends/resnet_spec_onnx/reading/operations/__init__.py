"""The normal form of each operation, from both sides: of the graph's operation and of the ONNX nodes for it.

The modules are those of ``resnet_spec.operations``; importing this package fills both tables with all of them. An
operation that only passes a value on, or changes its layout, adds no step.
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
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView

__all__ = [
    "NODE_FORMS",
    "OPERATION_FORMS",
    "OperationView",
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
