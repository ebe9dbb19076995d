"""What a mutation does to one backend, as data: most of it to the graph or the arrays that the backend is given, so
that one wrong backend serves for all; what no graph can say is done to a framework's layers, by name."""

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
    """What is wrong with a backend.

    ``fields`` are other fields of the operations of the nodes that a pattern matches, ``operations`` another operation
    in a node's place, of the first input alone where it takes one. ``arrays`` is a function of the arrays to load, a
    copy. ``wiring`` gives a node other inputs in the compiled whole, where each node by itself is right. ``own_layers``
    are calls of another node's layer that have one of their own instead. ``layers`` and ``training`` name what the
    frameworks' own modules hold: what to do with a node's layer, and with an optimizer. ``exact_statistics`` is whether
    the running variance is the one stated, whatever is asked for.
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
        """The graph whose nodes are wrong, each by itself."""
        return rebuilt(graph, [self._changed(node) for node in graph.nodes])

    def of_whole(self, graph: Graph) -> Graph:
        """The graph that is compiled, wired otherwise."""
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
    """The graph with other nodes, whose shapes follow; not checked, since wrong graphs are wanted."""
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
    """Nodes so that each follows its inputs, otherwise as they were."""
    waiting, done, ordered = list(nodes), {INPUT}, list[Node]()
    while waiting:
        ready = next(
            node for node in waiting if done.issuperset(node.inputs) and done.issuperset({node.calls} - {None})
        )
        waiting.remove(ready)
        done.add(ready.name)
        ordered.append(ready)
    return ordered
