"""What differs between two networks layer by layer: all that is not said in fewer words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import cast

from resnet_spec.describing.changes import Change, Worklist
from resnet_spec.describing.parts import Block
from resnet_spec.describing.phrases import change_text, extents, listed, noun, phrase, rank_of, row_text, word
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Category

FEW_LAYERS = 8
"""More layers than this are counted instead of listed."""

WIDTHS = ("channels", "groups")
"""Fields of which each stage has its own value."""


def layerwise(work: Worklist) -> Iterator[tuple[str, str]]:
    """A part and a sentence for what is left on the work list."""
    yield from _outside(work)
    yield from _widths(work)
    groups: dict[str, list[tuple[int, int]]] = {}
    for place, changes in work.by_block():
        for text in _sentences(work, changes):
            groups.setdefault(text, []).append(place)
    for text, places in groups.items():
        yield work.where(places), text
    alone: dict[int, set[str]] = {}
    for change in work.left:
        if change.in_block not in work.paired:
            alone.setdefault(change.pair.place.stage, set()).add(f"{change.kind} {change.pair.place.block}")
    for stage, blocks in alone.items():
        yield f"stage {stage}", f"{sum(text.startswith('added') for text in blocks)} of the blocks are of another kind"
    work.take(list(work.left))


def _outside(work: Worklist) -> Iterator[tuple[str, str]]:
    for part in ("stem", "head"):
        changes = [change for change in work.left if change.pair.place.part == part]
        sentences = dict.fromkeys(_sentences(work, changes))
        if sentences:
            yield part, "; ".join(sentences)
        work.take(changes)


def _widths(work: Worklist) -> Iterator[tuple[str, str]]:
    """Channels and groups within blocks, which differ from stage to stage."""
    found: dict[tuple[str, str], dict[int, set[tuple[int, int]]]] = {}
    changes: dict[tuple[str, str], list[Change]] = {}
    for change in work.left:
        if change.field in WIDTHS and change.in_block in work.paired:
            key = (change.field, work.role(change))
            found.setdefault(key, {}).setdefault(change.pair.place.stage, set()).add((change.before, change.after))
            changes.setdefault(key, []).append(change)
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for (field, role), stages in found.items():
        if all(len(values) == 1 for values in stages.values()):
            pairs = [next(iter(values)) for values in stages.values()]
            before, after = (_values([pair[side] for pair in pairs]) for side in (0, 1))
            places = {change.in_block for change in changes[field, role]}
            rows.setdefault((field, f"{after} {field} instead of {before}", work.where(places)), []).append(
                (field, role)
            )
    for (_, text, where), keys in rows.items():
        yield where, f"{text} in the {listed(role for _, role in keys)}"
        work.take(change for key in keys for change in changes[key])


def _values(values: Sequence[int]) -> str:
    """A value for each stage, or one for all."""
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))


def _sentences(work: Worklist, changes: Iterable[Change]) -> Iterator[str]:
    """What differs in one block, the stem or the head: runs of layers that only one has, and other fields."""
    run: list[Change] = []
    for alone, group in groupby(changes, key=lambda change: change.kind in ("added", "removed")):
        if not alone:
            for _, own in groupby(group, key=lambda change: id(change.pair)):
                yield from _changed(work, list(own))
            continue
        for change in group:
            if run and not work.adjacent(run[-1], change):
                yield from _alone(work, run)
                run = []
            run.append(change)
        yield from _alone(work, run)
        run = []


def _alone(work: Worklist, run: Sequence[Change]) -> Iterator[str]:
    output = [change for change in run if change.node.operation.category is Category.OUTPUT]
    removed, added = ([c.node for c in run if c.kind == kind and c not in output] for kind in ("removed", "added"))
    before, after = (layers_text(nodes) for nodes in (removed, added))
    at = " in the shortcut" if run[0].pair.place.section == "shortcut" else ""
    if before and after:
        yield f"{after} instead of {before}{at}"
    elif after:
        place = work.before(run[0])
        yield f"with {after}{f' after the {place}' if place else at}"
    elif before:
        few = listed(dict.fromkeys(map(noun, removed)), "or")
        yield f"no {few if len(removed) <= FEW_LAYERS else before}{at}"
    for change in output:
        yield f"{'with' if change.kind == 'added' else 'no'} {noun(change.node)}"


def layers_text(nodes: Sequence[Node]) -> str:
    """Layers in words; many are counted."""
    if len(nodes) <= FEW_LAYERS:
        return row_text(nodes)
    kinds = Counter(word(node.operation.op) for node in nodes)
    return f"{len(nodes)} layers ({', '.join(f'{count} × {kind}' for kind, count in kinds.most_common(3))}, …)"


def _changed(work: Worklist, own: Sequence[Change]) -> Iterator[str]:
    first = own[0]
    one, other = cast("tuple[Node, Node]", (first.pair.first, first.pair.second))
    if first.kind == "operation":
        yield f"{phrase(other)} instead of {phrase(one)}"
    fields = [change for change in own if change.kind == "field"]
    texts = [change_text(c.field, c.before, c.after) for c in fields if c.field != "kernel"]
    kernel = next((change for change in fields if change.field == "kernel"), None)
    if kernel is not None:
        text = f"{noun(other)} instead of {extents(kernel.before, rank_of(one))}"
        yield ", ".join([text, *texts])
    elif texts:
        yield f"{', '.join(texts)} in the {work.role(first)}"
    graphs = work.alignment.first.graph, work.alignment.second.graph
    sides = [(graph, node, block) for graph, node, block in zip(graphs, (one, other), first.pair.blocks, strict=True)]
    if any(change.kind == "inputs" for change in own):
        before, after = (listed(_reader(work, *side, name) for name in side[1].inputs) for side in sides)
        how = f"{after} instead of {before}" if before != after else "other values"
        yield f"the {work.role(first)} reads {how}"
    if any(change.kind == "calls" for change in own):
        before, after = (_caller(work, *side) for side in sides)
        yield f"the {work.role(first)} has {after} instead of {before}"


def _reader(work: Worklist, graph: Graph, node: Node, block: Block | None, name: str) -> str:
    """What a node that is read is called; the block's input if it is outside of the block."""
    if name == INPUT:
        return "the network's input"
    if block is not None and all(own.name != name for own in block.nodes):
        return "the block's input"
    return f"the {work.role_of(graph.by_name[name], block)}"


def _caller(work: Worklist, graph: Graph, node: Node, block: Block | None) -> str:
    if node.calls is None:
        return "parameters of its own"
    return f"the parameters of the {work.role_of(graph.by_name[node.calls], block)}"
