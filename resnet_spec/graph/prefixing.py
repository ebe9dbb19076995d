"""Graphs with a prefix before every name, as parts of larger networks have it."""

from __future__ import annotations

from resnet_spec.graph.graph import Graph
from resnet_spec.graph.initialization_rules import InitializationRules
from resnet_spec.graph.nodes import INPUT, Node


def prefixed(graph: Graph, prefix: str) -> Graph:
    """The same network with ``prefix`` before the names of nodes and scopes, and before patterns over names.

    The keys of a dict of outputs do not change. The graph is not checked again: a name may exceed the limit.
    """

    def named(name: str) -> str:
        return INPUT if name == INPUT else f"{prefix}{name}"

    def renamed(node: Node) -> Node:
        names = {"name": named(node.name), "inputs": tuple(map(named, node.inputs))}
        return node.model_copy(update=names | {"calls": node.calls and named(node.calls)})

    patterns = set(graph.initialization.patterns())
    rules = {prefix + key if key in patterns else key: rule for key, rule in graph.initialization.root.items()}
    scopes = (
        scope.model_copy(update={"name": prefix + scope.name, "output": named(scope.output)}) for scope in graph.scopes
    )
    return Graph.model_construct(
        name=graph.name,
        description=graph.description,
        input=graph.input,
        nodes=tuple(map(renamed, graph.nodes)),
        outputs=tuple(map(named, graph.outputs)),
        output_names=graph.output_names,
        scopes=tuple(scopes),
        declaration=tuple(map(named, graph.declaration)),
        initialization=InitializationRules.model_construct(root=rules),
    )
