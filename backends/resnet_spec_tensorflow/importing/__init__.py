"""Reads Keras models, live or from files, into graphs: one function per kind of layer, in a module per group of them.

The modules of readers mirror those that emit layers; importing this package fills the table with all of them.
"""

from resnet_spec_tensorflow.importing import (
    activation,
    convolution,
    graph_formulas,
    graph_normalization,
    graph_operations,
    graph_patterns,
    graph_resizing,
    graph_shapes,
    joining,
    learned,
    linear,
    normalization,
    pooling,
    regularization,
    reshaping,
)
from resnet_spec_tensorflow.importing.model import import_model
from resnet_spec_tensorflow.importing.reader import READERS

__all__ = [
    "READERS",
    "activation",
    "convolution",
    "graph_formulas",
    "graph_normalization",
    "graph_operations",
    "graph_patterns",
    "graph_resizing",
    "graph_shapes",
    "import_model",
    "joining",
    "learned",
    "linear",
    "normalization",
    "pooling",
    "regularization",
    "reshaping",
]
