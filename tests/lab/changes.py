"""The changes that mutations make to one backend, as data.

Most of them change the graph or the arrays that the backend receives, so that one mutated backend runs all mutations;
the others change a framework's layers or optimizer, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter

from resnet_spec import Graph
from resnet_spec import operations as ops
from resnet_spec.graph import INPUT, Node

Arrays = Mapping[str, Any]

_OPERATION: TypeAdapter[ops.AnyOperation] = TypeAdapter(ops.Operation)


@dataclass(frozen=True)
class Change:
    """The changes of one mutation.

    ``fields`` replaces fields of the operations of nodes, by a pattern of their names. ``operations`` replaces whole
    operations; one that takes a single input takes the first. ``arrays`` changes a copy of the arrays to load.
    ``wiring`` connects nodes to other inputs in the compiled model only, so that each node by itself is correct.
    ``own_layers`` are calls of another node's layer that get a layer of their own. ``layers`` and ``training`` are
    names of changes that ``mutated_torch`` and ``mutated_tensorflow`` make to a node's layer and to an optimizer.
    ``exact_statistics`` overrides the argument of ``compile``.
    """

    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    operations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    arrays: Callable[[dict[str, Any]], Arrays] = lambda arrays: arrays
    wiring: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    own_layers: tuple[str, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict[str, str])
    training: str = ""
    exact_statistics: bool | None = None

    def of_nodes(self, graph: Graph) -> Graph:
        """Return the graph with the changed operations."""
        return rebuilt(graph, [self._changed(node) for node in graph.nodes])

    def of_whole(self, graph: Graph) -> Graph:
        """Return the graph with the changed connections, which is compiled."""
        known = {INPUT, *graph.by_name}
        nodes = [
            node.model_copy(update={"inputs": self.wiring[node.name]})
            if known.issuperset(self.wiring.get(node.name, (".",)))
            else node
            for node in graph.nodes
        ]
        return rebuilt(graph, in_order(nodes))

    def _changed(self, node: Node) -> Node:
        if node.name in self.operations:
            operation = _OPERATION.validate_python(dict(self.operations[node.name]))
            return node.model_copy(
                update={"operation": operation, "inputs": node.inputs if operation.joins else node.inputs[:1]}
            )
        fields = {
            name: value
            for pattern, fields in self.fields.items()
            if fnmatchcase(node.name, pattern)
            for name, value in fields.items()
            if name in type(node.operation).model_fields
        }
        operation = _OPERATION.validate_python(node.operation.model_dump() | fields)
        called = None if node.name in self.own_layers else node.calls
        return node.model_copy(update={"operation": operation, "calls": called})


def rebuilt(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """Return the graph with other nodes and their new shapes, without the checks that a mutated graph may fail."""
    shapes = {INPUT: graph.input.shape}
    shaped: list[Node] = []
    for node in nodes:
        shape = node.operation.output_shape(*(shapes[name] for name in node.inputs))
        shapes[node.name] = shape
        shaped.append(node.model_copy(update={"shape": shape}))
    owners = {node.name for node in nodes if node.calls is None}
    declared = owners <= {*graph.declaration}
    fields: dict[str, Any] = {name: getattr(graph, name) for name in Graph.model_fields}
    changed = {"nodes": tuple(shaped), "declaration": graph.declaration if declared else ()}
    return Graph.model_construct(**fields | changed)


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes sorted so that each follows its inputs; the order is kept where possible."""
    waiting, done, ordered = list(nodes), {INPUT}, list[Node]()
    while waiting:
        ready = next(
            node for node in waiting if done.issuperset(node.inputs) and done.issuperset({node.calls} - {None})
        )
        waiting.remove(ready)
        done.add(ready.name)
        ordered.append(ready)
    return ordered
