"""Whether two graphs are the same network, whatever the order in which independent layers are listed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from resnet_spec.graph import INPUT, Graph, Node, canonical

COMMUTATIVE = frozenset({"add", "multiply", "maximum"})
"""Operations for which the order of the inputs does not count."""


def by_name(graph: Graph) -> dict[str, Any]:
    """What each node computes from what, by its name: equal for graphs that differ in order only."""
    nodes: dict[str, Any] = {}
    for node in graph.nodes:
        fields = canonical(node)
        if node.operation.op in COMMUTATIVE:
            fields["inputs"] = sorted(fields["inputs"])
        nodes[node.name] = fields
    return nodes


def architecture(graph: Graph, *, layers: bool) -> str:
    """A hash of what the outputs are computed by; with ``layers`` the names of layers with parameters count too."""
    digests = {INPUT: "input"}
    names: dict[str, str] = {}
    for node in graph.nodes:
        inputs = [digests[name] for name in node.inputs]
        if node.operation.op in COMMUTATIVE:
            inputs.sort()
        owns = bool(node.operation.parameters(*graph.input_shapes(node)))
        called = names.setdefault(node.layer, node.layer if layers else str(len(names))) if owns else ""
        digests[node.name] = _digest([_operation(node), called, inputs])
    return _digest([list(graph.input.shape), [digests[name] for name in graph.outputs]])


def _operation(node: Node) -> dict[str, Any]:
    return node.operation.model_dump(mode="json", exclude_defaults=True)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
