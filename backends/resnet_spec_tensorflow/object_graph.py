"""Parses the object graph of a TensorFlow 2 checkpoint: the names of variables, and which belong to optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of the object graph in a checkpoint."""

OPTIMIZER_WORDS = frozenset({"optimizer", "_optimizer"})
"""Attribute names of optimizers."""

OPTIMIZER_PARTS = frozenset({"_iterations", "_variables"})
"""Attributes of every Keras optimizer since version 2.11."""


@dataclass(frozen=True)
class ObjectGraph:
    """By the checkpoint's keys: names of variables, (variable, name) of each slot, and variables of optimizers."""

    names: Mapping[str, str] = field(default_factory=dict[str, str])
    slots: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    optimizers: frozenset[str] = frozenset()


def parse_object_graph(serialized: bytes) -> ObjectGraph:
    """Parse a serialized object graph; raises if it is broken."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph  # type: ignore[import]

    graph: Any = TrackableObjectGraph.FromString(serialized)
    nodes: list[Any] = list(graph.nodes)
    keys = [[attribute.checkpoint_key for attribute in node.attributes] for node in nodes]
    optimizers = _optimizers(nodes)
    # A model's variables can be reached through its optimizer too.
    held = _reached(nodes, optimizers) - _reached(nodes, {0} - optimizers, avoiding=optimizers)
    return ObjectGraph(
        names={a.checkpoint_key: a.full_name for node in nodes for a in node.attributes if a.full_name},
        slots={
            key: (owner, slot.slot_name)
            for node in nodes
            for slot in node.slot_variables
            for owner in keys[slot.original_variable_node_id]
            for key in keys[slot.slot_variable_node_id]
        },
        optimizers=frozenset(key for node in held for key in keys[node]),
    )


def _optimizers(nodes: list[Any]) -> set[int]:
    found: set[int] = set()
    for number, node in enumerate(nodes):
        children = {child.local_name: child.node_id for child in node.children}
        found |= {children[word] for word in OPTIMIZER_WORDS & children.keys()}
        if children.keys() >= OPTIMIZER_PARTS or node.slot_variables:
            found.add(number)
    return found


def _reached(nodes: list[Any], start: Iterable[int], avoiding: Iterable[int] = ()) -> set[int]:
    reached = {*start}
    waiting = [*reached]
    while waiting:
        children = {child.node_id for child in nodes[waiting.pop()].children}
        new = children - reached - {*avoiding}
        reached |= new
        waiting += new
    return reached
