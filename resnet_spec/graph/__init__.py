"""The graph, and what can be said of it without a spec."""

from resnet_spec.graph.graph import (
    INPUT,
    MAX_PARAMETERS,
    Graph,
    Input,
    Node,
    Parameter,
    Scope,
    canonical,
    scope_class_name,
    strides_of,
    unused,
)

__all__ = [
    "INPUT",
    "MAX_PARAMETERS",
    "Graph",
    "Input",
    "Node",
    "Parameter",
    "Scope",
    "canonical",
    "scope_class_name",
    "strides_of",
    "unused",
]
