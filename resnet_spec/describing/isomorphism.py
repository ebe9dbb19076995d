"""Whether two networks are the same but for names and order, also where branches are alike; and by which pairs."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.importing.architecture import COMMUTATIVE


def same_nodes(first: Graph, second: Graph) -> dict[str, str] | None:
    """A node of the second network for each one of the first that its outputs need; None if the networks differ.

    Paired nodes have the same operation and read paired values, so that both networks compute the same if their layers
    do; and each layer with parameters is paired with one other, wherever it is used.
    """
    if first.input.shape != second.input.shape or len(first.outputs) != len(second.outputs):
        return None
    digests = [_digests(graph) for graph in (first, second)]
    ranks = [_ranks(graph, own) for graph, own in zip((first, second), digests, strict=True)]
    found: dict[str, str] = {}
    layers: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [*zip(first.outputs, second.outputs, strict=True)]
    while waiting:
        pair = waiting.pop()
        one, other = pair
        if digests[0][one] != digests[1][other]:
            return None
        if pair in seen or one == INPUT:
            continue
        seen.add(pair)
        found.setdefault(one, other)
        a, b = first.by_name[one], second.by_name[other]
        # A value without parameters may be computed twice in one network and once in the other.
        if a.operation.parameters(*first.input_shapes(a)) and layers.setdefault(a.layer, b.layer) != b.layer:
            return None
        waiting += zip(_inputs(a, ranks[0]), _inputs(b, ranks[1]), strict=True)
    return found if len(set(layers.values())) == len(layers) else None


def _digests(graph: Graph) -> dict[str, int]:
    """A number for each value, which follows from all that it is computed by."""
    found = {INPUT: hash(INPUT)}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        ordered = sorted(inputs) if node.operation.op in COMMUTATIVE else inputs
        found[node.name] = hash((node.operation, tuple(ordered)))
    return found


def _ranks(graph: Graph, digests: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Numbers for each value by what it is computed by and then by what it is used for, to order what commutes."""
    uses: dict[str, list[int]] = {name: [] for name in digests}
    for place, name in enumerate(graph.outputs):
        uses[name].append(place)
    found: dict[str, tuple[int, int]] = {}
    for node in reversed(graph.nodes):
        found[node.name] = digests[node.name], hash((digests[node.name], tuple(sorted(uses[node.name]))))
        for place, name in enumerate(node.inputs):
            uses[name].append(hash((found[node.name], 0 if node.operation.op in COMMUTATIVE else place)))
    return found | {INPUT: (digests[INPUT], 0)}


def _inputs(node: Node, ranks: Mapping[str, tuple[int, int]]) -> list[str]:
    """A node's inputs, in the order of their ranks if their own does not count."""
    commutes = node.operation.op in COMMUTATIVE
    return sorted(node.inputs, key=lambda name: ranks[name]) if commutes else list(node.inputs)
