"""Finds the blocks of a network: by the modules that its names state, else by its residual additions.

A block is a group of consecutive nodes that reads one value and whose last node is all that others read of it.
"""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Category


@dataclass(frozen=True)
class Region:
    """Consecutive nodes: a block whose layers' names begin with ``prefix``, or layers that belong to none.

    Attributes:
        nodes: The nodes.
        prefix: What their names begin with.
        is_block: Whether they are a block.
        is_module: Whether they are all that the prefix has in the network, as a module of the source is.
    """

    nodes: tuple[Node, ...]
    prefix: str = ""
    is_block: bool = False
    is_module: bool = False


class Counter(NamedTuple):
    """A block's prefix, such as ``layer1.0.``: what comes before its number, the number, and what comes after."""

    head: str
    number: int
    tail: str


def counter_of(prefix: str) -> Counter | None:
    """Split a prefix at its last number."""
    found = re.fullmatch(r"(.*?)(\d+)([._])", prefix)
    return Counter(found[1], int(found[2]), found[3]) if found else None


def regions(graph: Graph, *, by_names: bool = True) -> list[Region]:
    """Split a network into blocks and the layers between them, in order; without ``by_names`` only by its additions."""
    found = _by_modules(graph) if by_names else []
    blocks = [region for region in found if region.is_block]
    # Names with other separators may say where additions are, too.
    if _adds(graph.nodes):
        return found if any(_adds(region.nodes) for region in blocks) else _by_additions(graph)
    growing = _by_concatenations(graph)
    if len(growing) > len(found):
        return growing
    return found if blocks else _by_joins(graph)


# -- by modules --------------------------------------------------------------------------------------------------


def _by_modules(graph: Graph) -> list[Region]:
    users = _last_users(graph)
    units = {prefix: span for prefix, span in _module_spans(graph).items() if _is_unit(graph, *span, users)}
    counted = [prefix for prefix in units if counter_of(f"{prefix}.")]
    adding = _adding([p for p, span in units.items() if _adds(graph.nodes[slice(*span)])], graph)
    # Blocks of the same row without an addition, then those that join values otherwise, then any that are counted.
    rows = {_row(prefix) for prefix in adding}
    # After blocks that add, what ends in the network's output is the head: attention that pools joins values, too.
    head = {p for p, (_, stop) in units.items() if adding and stop == len(graph.nodes) and p not in counted}
    joining = [p for p, span in units.items() if p not in head and _joins(graph.nodes[slice(*span)])]
    chosen: list[str] = []
    first = [*adding, *(p for p in counted if _row(p) in rows), *_smallest(joining)]
    # Where nothing joins values, the blocks are what repeats most.
    ordered = sorted(counted, key=lambda prefix: prefix.count("."), reverse=not first)
    for place, prefix in enumerate([*first, *ordered]):
        # What comes before all blocks that join is the stem, and after them the head.
        outside = 0 < len(first) <= place and not _between(units[prefix], [units[other] for other in chosen])
        related = any(prefix == other or _contains(prefix, other) or _contains(other, prefix) for other in chosen)
        if not related and not outside:
            chosen.append(prefix)
    return list(_filled(graph, {units[prefix]: f"{prefix}." for prefix in chosen}, modules=True))


def _adding(candidates: Sequence[str], graph: Graph) -> list[str]:
    """The modules that are blocks, of those with an addition: what adds itself, and is not a row of blocks that do."""
    additions = [node.name for node in graph.nodes if node.operation.op == "add"]

    def chosen(prefix: str) -> list[str]:
        inner = _largest(other for other in candidates if _contains(prefix, other))
        adds_itself = any(
            _contains(prefix, name) and not any(_contains(other, name) for other in inner) for name in additions
        )
        rows = Counts(_row(other) for other in inner)
        # Attention in a block may add, too; blocks are numbered.
        blocks = [other for other in inner if other.rpartition(".")[2].isdigit() or rows[_row(other)] > 1]
        if adds_itself and not blocks:
            return [prefix]
        return [found for other in (blocks if adds_itself else inner) for found in chosen(other)]

    return [found for prefix in _largest(candidates) for found in chosen(prefix)]


def _largest(prefixes: Iterable[str]) -> list[str]:
    """Those that are in no other one."""
    found = list(prefixes)
    return [prefix for prefix in found if not any(_contains(other, prefix) for other in found)]


def _between(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return min(others)[0] <= span[0] <= max(others)[0]


def _smallest(prefixes: Iterable[str]) -> list[str]:
    """Those that contain no other one."""
    found = list(prefixes)
    return [prefix for prefix in found if not any(_contains(prefix, other) for other in found)]


def _row(prefix: str) -> str:
    """A prefix regardless of its numbers."""
    return re.sub(r"\d+", "#", prefix)


def _contains(outer: str, inner: str) -> bool:
    return inner.startswith(f"{outer}.")


def _module_spans(graph: Graph) -> dict[str, tuple[int, int]]:
    """The first node and the one after the last of each dotted prefix whose nodes are consecutive."""
    indices: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        parts = node.name.split(".")
        for end in range(1, len(parts)):
            indices.setdefault(".".join(parts[:end]), []).append(index)
    return {
        prefix: (found[0], found[-1] + 1) for prefix, found in indices.items() if found[-1] - found[0] == len(found) - 1
    }


def _last_users(graph: Graph) -> dict[str, int]:
    """The index of the last node that reads each value; an output is read at the end."""
    users = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    return users | dict.fromkeys(graph.outputs, len(graph.nodes))


def _is_unit(graph: Graph, start: int, stop: int, users: dict[str, int]) -> bool:
    own = {node.name for node in graph.nodes[start:stop]}
    read = {name for node in graph.nodes[start:stop] for name in node.inputs} - own
    escaping = [node.name for node in graph.nodes[start:stop] if users[node.name] >= stop]
    called = {node.calls for node in graph.nodes[start:stop] if node.calls} - own
    return stop - start > 1 and len(read) == 1 and escaping == [graph.nodes[stop - 1].name] and not called


def _adds(nodes: Sequence[Node]) -> bool:
    return any(node.operation.op == "add" for node in nodes)


def _joins(nodes: Sequence[Node]) -> bool:
    return any(node.operation.joins for node in nodes)


def _filled(graph: Graph, blocks: dict[tuple[int, int], str], *, modules: bool = False) -> Iterator[Region]:
    """The blocks and, between them, the other nodes."""
    end = 0
    for (start, stop), prefix in sorted(blocks.items()):
        if start > end:
            yield Region(graph.nodes[end:start])
        yield Region(graph.nodes[start:stop], prefix, is_block=True, is_module=modules)
        end = stop
    if end < len(graph.nodes):
        yield Region(graph.nodes[end:])


# -- by additions ------------------------------------------------------------------------------------------------


def _by_additions(graph: Graph) -> list[Region]:
    """Blocks that end in an addition, with the activation that follows each, or the normalization before."""
    spans = [(start, stop) for start, stop in _segments(graph) if _adds(graph.nodes[start:stop])]
    if not spans:
        return [Region(graph.nodes)]

    def activated(index: int) -> bool:
        return index < len(graph.nodes) and graph.nodes[index].operation.category is Category.ACTIVATION

    followed = [activated(stop) for _, stop in spans]
    if 2 * sum(followed) > len(spans):
        # The last block of a stage may have none.
        ends = [stop + own for (_, stop), own in zip(spans, followed, strict=True)]
        spans = [(max(start, end), stop) for (start, _), end, stop in zip(spans, [0, *ends], ends, strict=False)]
    else:
        ends = [0, *(stop for _, stop in spans)]
        spans = [
            (_with_preactivation(graph, start, end), stop) for (start, stop), end in zip(spans, ends, strict=False)
        ]
    return list(_filled(graph, {span: common_prefix(graph.nodes[slice(*span)]) for span in spans}))


def _by_concatenations(graph: Graph) -> list[Region]:
    """Blocks that add channels to their input: those that end in a concatenation which takes it, as a DenseNet's do."""
    spans = [
        (start, stop)
        for start, stop in _segments(graph)
        if graph.nodes[stop - 1].operation.op == "concat"
        and graph.nodes[start].inputs[0] in graph.nodes[stop - 1].inputs
    ]
    return list(_filled(graph, {span: common_prefix(graph.nodes[slice(*span)]) for span in spans}))


def _by_joins(graph: Graph) -> list[Region]:
    """Blocks of branches that are joined, as Inception's."""
    spans = [(start, stop) for start, stop in _segments(graph) if _joins(graph.nodes[start:stop])]
    return list(_filled(graph, {span: common_prefix(graph.nodes[slice(*span)]) for span in spans}))


def _with_preactivation(graph: Graph, start: int, least: int) -> int:
    """Where a block begins whose first normalization and activation its shortcut shares."""
    begin = start
    while begin > least and graph.nodes[begin - 1].operation.category in (Category.ACTIVATION, Category.NORMALIZATION):
        begin -= 1
    # After a convolution it is that layer's own.
    after_layer = begin > 0 and graph.nodes[begin - 1].operation.category is Category.CONVOLUTION
    return start if after_layer and begin > least else begin


def _segments(graph: Graph) -> Iterator[tuple[int, int]]:
    """Spans between the values on which everything after them depends."""
    users = _last_users(graph)
    start, pending = 0, users[INPUT]
    for index, node in enumerate(graph.nodes):
        # Whether a value before this one is read after it.
        if pending <= index:
            yield start, index + 1
            start = index + 1
        pending = max(pending, users[node.name])


def common_prefix(nodes: Sequence[Node]) -> str:
    """What all names begin with, up to a separator."""
    names = [node.name for node in nodes]
    shared = ""
    for letters in zip(*names, strict=False):
        if len(set(letters)) > 1:
            break
        shared += letters[0]
    return re.sub(r"[^._]*$", "", shared)
