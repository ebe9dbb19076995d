"""Finds the shipped specs that are nearest to a network, with the overrides by which they come nearer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resnet_spec.describing.alignment import Alignment
from resnet_spec.describing.differences import Comparison, compare
from resnet_spec.describing.padding import with_explicit_padding
from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph
from resnet_spec.operations import BatchNorm, Category
from resnet_spec.optimization.folding import fold
from resnet_spec.spec.catalog import available
from resnet_spec.spec.loader import load
from resnet_spec.weights.identification import MAX_SUGGESTIONS, Match, most_alike, rarity

LIKELY = 20
"""Specs of similar kernels whose layers are counted."""

CANDIDATES = 4
"""Specs of similar layers that are compared layer by layer."""


def nearest_specs(graph: Graph) -> list[Match]:
    """The shipped specs nearest to a network, the nearest first; if any compute the same, only these.

    ``share`` is the share of the layers of both that are the same. What only training depends on does not count.
    """
    folded = not any(isinstance(node.operation, BatchNorm) for node in graph.nodes)
    wanted = _operations(graph)
    found: list[tuple[float, str, tuple[str, ...], Graph]] = []
    for name in most_alike(available(), graph, LIKELY):
        given = ("folded=true",) if folded and _folds(name) else ()
        spec = load(name, given).to_graph()
        own = _operations(spec)
        found.append((-(own & wanted).total() / (own | wanted).total(), name, given, spec))
    found.sort(key=lambda item: (item[0], *rarity(item[1])))
    compared = [(n, given, compare(spec, graph, training=False)) for _, n, given, spec in found[:CANDIDATES]]
    compared.sort(key=lambda item: (item[2].alignment.cost, *rarity(item[0])))
    if same := [item for item in compared if item[2].same]:
        return [Match(name, given, 1.0) for name, given, _ in same][:MAX_SUGGESTIONS]
    fitted = [_fitted(*item, graph) for item in compared[:MAX_SUGGESTIONS]]
    fitted.sort(key=lambda item: (bool(item[0].differences), item[1], len(item[0].overrides), *rarity(item[0].spec)))
    matches = [match for match, _ in fitted]
    least = min((len(match.overrides) for match in matches if match.fits), default=None)
    return matches if least is None else [m for m in matches if m.fits and len(m.overrides) == least]


def _operations(graph: Graph) -> Counter[object]:
    """How many layers of which kind a network has, as far as widths do not count."""
    return Counter(
        (node.operation.op, getattr(node.operation, "kernel", ()), getattr(node.operation, "stride", ()))
        for node in with_explicit_padding(graph).nodes
        if node.operation.category is not Category.REGULARIZATION
    )


def _folds(name: str) -> bool:
    graph = load(name).to_graph()
    return len(fold(graph).nodes) < len(graph.nodes)


def _fitted(name: str, overrides: tuple[str, ...], best: Comparison, graph: Graph) -> tuple[Match, int]:
    """A spec with those overrides by which fewer layers differ, and how many do."""
    for suggestion in _suggested(name, best.alignment):
        if best.same:
            break
        try:
            other = load(name, (*overrides, *suggestion)).to_graph()
        except SpecError:
            # The spec has no such parameter, or requires another number of blocks.
            continue
        comparison = compare(other, graph, training=False)
        if (comparison.alignment.cost, len(comparison.differences)) < (best.alignment.cost, len(best.differences)):
            overrides, best = (*overrides, *suggestion), comparison
    nodes = len(best.alignment.pairs)
    texts = tuple(f"{part}: {text}" for part, text in best.differences)
    match = Match(name, overrides, 1 - best.alignment.cost / max(1, nodes))
    return replace(match, differences=texts), best.alignment.cost


def _suggested(name: str, alignment: Alignment) -> Iterator[tuple[str, ...]]:
    """Overrides that may make a spec the second network, those that belong together in one tuple."""
    spec, graph = alignment.first.graph, alignment.second.graph
    if spec.input.shape != graph.input.shape and spec.input.axes == graph.input.axes:
        own, wanted = spec.input.model_dump(), graph.input.model_dump()
        yield tuple(f"input.{axis}={wanted[axis]}" for axis in own if own[axis] != wanted[axis])
    yield from _head(spec, graph)
    data = load(name).data()
    stages = list(data.get("stages", {}))
    repeats = [
        f"stages.{key}.repeat={len(other)}"
        for key, (one, other) in zip(stages, alignment.stages, strict=False)
        if one and other and len(one) != len(other)
    ]
    if repeats:
        yield tuple(repeats)
    yield from _layers(data.get("layers", {}), graph)


def _head(spec: Graph, graph: Graph) -> Iterator[tuple[str, ...]]:
    one, other = spec.by_name[spec.logits], graph.by_name[graph.logits]
    if one.operation.category != other.operation.category or len(one.shape) != len(other.shape):
        yield ("head=null",)
    elif one.shape[0] != other.shape[0]:
        yield (f"parameters.classes={other.shape[0]}",)
    softmax = [node.name for node in spec.nodes if node.operation.op == "softmax" and node.name in spec.outputs]
    if softmax and all(graph.by_name[name].operation.op != "softmax" for name in graph.outputs):
        yield (f"head.{softmax[0]}=null",)


def _layers(layers: Any, graph: Graph) -> Iterator[tuple[str, ...]]:
    """The epsilon of a network's batch normalizations, and its activation, where a spec defines these once."""
    norms = {node.operation.epsilon for node in graph.nodes if isinstance(node.operation, BatchNorm)}
    if len(norms) == 1 and "batch_norm" in (layers.get("norm") or ()):
        epsilon = norms.pop()
        if layers["norm"]["batch_norm"].get("epsilon") != epsilon:
            yield (f"layers.norm.batch_norm.epsilon={epsilon:g}",)
    usual = Counter(node.operation.op for node in graph.nodes if node.operation.category is Category.ACTIVATION)
    if usual and isinstance(layers.get("act"), str) and layers["act"] != (found := usual.most_common(1)[0][0]):
        yield (f"layers.act={found}",)
