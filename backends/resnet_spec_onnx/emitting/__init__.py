"""From a graph's operations to ONNX nodes: one function per operation, in a module per group of operations.

The modules are those of ``resnet_spec.operations``; importing this package fills the table with all of them.
"""

from resnet_spec_onnx.emitting import (
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
from resnet_spec_onnx.emitting.emitters import EMITTERS, emit
from resnet_spec_onnx.emitting.node_builder import NodeBuilder

__all__ = [
    "EMITTERS",
    "NodeBuilder",
    "activation",
    "convolution",
    "emit",
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
