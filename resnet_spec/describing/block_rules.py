"""Sentences on what differs within blocks: kind, gate, shortcut and stride."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from resnet_spec.describing.changes import WINDOW_FIELDS, Change, Difference, Worklist
from resnet_spec.describing.phrases import listed, value_text
from resnet_spec.operations import Category

ByText: TypeAlias = dict[str, list[tuple[tuple[int, int], list[Change]]]]
"""Blocks with what is said of each, by the sentence."""


def _kinds(work: Worklist) -> Iterator[Difference]:
    """Blocks of other convolutions, and with normalizations before instead of after them."""
    groups: ByText = {}
    for place, changes in work.by_block():
        one, other = (work.anatomy(block) for block in work.paired[place])
        main = [c for c in changes if c.pair.place.section in ("main", "after")]
        if one.kernels != other.kernels:
            same = one.kind == other.kind
            a, b = (x.layers if same else f"{x.kind} ({x.layers})" for x in (one, other))
            said = [c for c in main if c.kind in ("added", "removed", "inputs") or c.field in WINDOW_FIELDS]
            groups.setdefault(f"{b} instead of {a}", []).append((place, _ungated(said, work)))
        elif one.preactivated != other.preactivated:
            text = (
                "before each convolution instead of after"
                if other.preactivated
                else ("after each convolution instead of before")
            )
            categories = (Category.NORMALIZATION, Category.ACTIVATION)
            said = [c for c in main if c.kind != "field" and c.node.operation.category in categories]
            said += [c for c in changes if c.kind == "inputs"]
            groups.setdefault(f"norm and activation {text}", []).append((place, _ungated(said, work)))
    yield from _by_place(work, groups)


def _ungated(changes: list[Change], work: Worklist) -> list[Change]:
    gated = {
        name for change in changes for block in change.pair.blocks if block for name in work.anatomy(block).gate_nodes
    }
    return [c for c in changes if not {n.name for n in (c.pair.first, c.pair.second) if n} & gated]


def _gates(work: Worklist) -> Iterator[Difference]:
    """Gates of another kind, or that one network lacks."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    said: list[Change] = []
    details: dict[tuple[str, str], set[str]] = {}
    for place, changes in work.by_block():
        one, other = (work.anatomy(block) for block in work.paired[place])
        kinds = tuple(listed(dict.fromkeys(gate.kind for gate in x.gates)) or "none" for x in (one, other))
        if kinds[0] == kinds[1]:
            continue
        key = (kinds[0], kinds[1])
        own = {detail for gate in (other.gates or one.gates) for detail in gate.details}
        details[key] = details[key] & own if key in details else own
        groups.setdefault(key, []).append(place)
        nodes = one.gate_nodes | other.gate_nodes
        said += [c for c in changes if {node.name for node in (c.pair.first, c.pair.second) if node} & nodes]
    work.take(said)
    for (before, after), places in groups.items():
        where = work.where(places)
        common = sorted(details[before, after], key=lambda text: (len(text), text))[:1]
        text = " ".join([after, *common]) if after != "none" else "none"
        before = " ".join([before, *common]) if after == "none" else before
        at = "" if where == "blocks" else f" ({where})"
        yield Difference("gate", f"{text}{at}" if before == "none" else f"{text} instead of {before}{at}")


def _strided_blocks(work: Worklist) -> Iterator[Difference]:
    """Stages whose last block has the stride instead of the first."""
    ends = [{place for place, blocks in work.paired.items() if blocks[side].changes_size} for side in (0, 1)]
    firsts = {place for place in work.paired if place[1] == 1}
    counts = {number: len(blocks) for number, blocks in enumerate(work.alignment.blocks, 1)}
    lasts = {place for place in work.paired if place[1] == counts[place[0]]} - firsts
    for one, other, text in ((firsts, lasts, "last"), (lasts, firsts, "first")):
        if ends[0] and ends[1] and ends[0] <= one and ends[1] <= other:
            before = "first" if text == "last" else "last"
            yield Difference("blocks", f"stride in the {text} block of a stage instead of the {before}")
            places = ends[0] | ends[1]
            work.take(
                change
                for change in work.left
                if change.in_block in places
                and (change.field == "stride" or change.node.operation.op.startswith("max_pool"))
            )


def _sizes(work: Worklist) -> Iterator[Difference]:
    """Blocks that keep the size in one network only, such as dilated ones."""
    groups: ByText = {}
    for place, changes in work.by_block():
        strides = [c for c in changes if c.field == "stride"]
        values = {(value_text(c.before), value_text(c.after)) for c in strides}
        one, other = work.paired[place]
        if one.changes_size != other.changes_size and len(values) == 1:
            before, after = values.pop()
            groups.setdefault(f"stride {after} instead of {before}", []).append((place, strides))
    yield from _by_place(work, groups)


def _shortcuts(work: Worklist) -> Iterator[Difference]:
    """Shortcuts of other layers."""
    groups: ByText = {}
    for place, changes in work.by_block():
        one, other = (work.anatomy(block) for block in work.paired[place])
        said = [c for c in changes if c.pair.place.section == "shortcut"]
        if said and one.shortcut != other.shortcut:
            a, b = (x.shortcut or "the input itself" for x in (one, other))
            groups.setdefault(f"{b} instead of {a} as shortcut", []).append((place, said))
    yield from _by_place(work, groups)


def _strides(work: Worklist) -> Iterator[Difference]:
    """Strides that are in another layer of the block."""
    groups: ByText = {}
    every = {place for place, (a, b) in work.paired.items() if a.changes_size and b.changes_size}
    for place, changes in work.by_block():
        one, other = (work.anatomy(block) for block in work.paired[place])
        moved = [c for c in changes if c.field == "stride" and c.pair.place.section == "main"]
        if moved and one.stride_in and other.stride_in and one.stride_in != other.stride_in:
            groups.setdefault(f"stride in {other.stride_in} instead of {one.stride_in}", []).append((place, moved))
    for text, found in groups.items():
        places = {place for place, _ in found}
        work.take([change for _, changes in found for change in changes])
        yield Difference("blocks" if places == every else work.where(places), text)


def _by_place(work: Worklist, groups: ByText) -> Iterator[Difference]:
    for text, found in groups.items():
        work.take([change for _, changes in found for change in changes])
        yield Difference(work.where(place for place, _ in found), text)


BLOCK_RULES = (_gates, _kinds, _strided_blocks, _sizes, _shortcuts, _strides)
"""In an order in which a sentence on more comes before one on less."""
