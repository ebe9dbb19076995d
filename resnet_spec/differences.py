"""Where two graphs differ, in words: for a file written for another network, and for networks that look alike."""

from __future__ import annotations

from typing import Any

from resnet_spec.graph import Graph, Node, canonical


def first_difference(first: Graph, second: Graph, holders: tuple[str, str]) -> str:
    """The first node that differs and the field in which it does; ``holders`` are words for whose graphs they are."""
    for one, other in zip(first.nodes, second.nodes, strict=False):
        if canonical(one) != canonical(other):
            return _of_nodes(one, other, holders)
    if len(first.nodes) != len(second.nodes):
        longer = max(first, second, key=lambda graph: len(graph.nodes))
        extra = longer.nodes[min(len(first.nodes), len(second.nodes))].name
        return f"{extra!r} is only in {holders[0] if longer is first else holders[1]}"
    return "the input, the outputs or the order of declaration differ"


def _of_nodes(one: Node, other: Node, holders: tuple[str, str]) -> str:
    if one.name != other.name:
        return f"{holders[0]} has {one.name!r} where {holders[1]} has {other.name!r}"
    a, b = _fields(one), _fields(other)
    key = next(key for key in {**a, **b} if a.get(key) != b.get(key))
    return (
        f"{other.name!r} differs in {key!r}: {_value(one, key)} in {holders[0]}, {_value(other, key)} in {holders[1]}"
    )


def _fields(node: Node) -> dict[str, Any]:
    data = canonical(node)
    return {**data.pop("operation"), **data}


def _value(node: Node, key: str) -> Any:
    return getattr(node.operation, key, None) if hasattr(node.operation, key) else getattr(node, key, None)
