"""The graph, and what is computed from it without a spec."""

from resnet_spec.graph.graph import Graph
from resnet_spec.graph.nodes import (
    INPUT,
    MAX_PARAMETERS,
    SIZE_NAMES,
    Input,
    Node,
    Parameter,
    Scope,
    canonical,
    modules_last,
    parameter_name,
    scope_class_name,
    strides_of,
    unused,
)

__all__ = [
    "INPUT",
    "MAX_PARAMETERS",
    "SIZE_NAMES",
    "Graph",
    "Input",
    "Node",
    "Parameter",
    "Scope",
    "canonical",
    "modules_last",
    "parameter_name",
    "scope_class_name",
    "strides_of",
    "unused",
]
