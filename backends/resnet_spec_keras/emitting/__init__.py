"""From a graph's operations to Keras layers: one function per operation, in a module per group of operations.

The modules are those of ``resnet_spec.operations``; importing this package fills the table with all of them.
"""

from resnet_spec_keras.emitting import (
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
from resnet_spec_keras.emitting.emitters import EMITTERS, LayerContext, Steps, emit

__all__ = [
    "EMITTERS",
    "LayerContext",
    "Steps",
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
