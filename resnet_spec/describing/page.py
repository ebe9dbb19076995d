"""Two networks side by side as one self-contained HTML page: each block of both in a row, what differs marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from resnet_spec.describing.alignment import Pair
from resnet_spec.describing.changes import Change, blocks_text, changes_of
from resnet_spec.describing.differences import Comparison
from resnet_spec.describing.phrases import change_text, phrase, rank_of, word
from resnet_spec.graph import Node
from resnet_spec.importing.fields import fields_of
from resnet_spec.operations import Category
from resnet_spec.parity.render.pages import render

PACKAGE = "resnet_spec.describing"

SHORT = {
    "batch_norm": "BN", "group_norm": "GN", "layer_norm": "LN", "instance_norm": "IN",
    "add": "add", "multiply": "product", "linear": "linear", "global_avg_pool": "average", "concat": "concat",
}  # fmt: skip
"""What layers are called where there is little room."""


class Chip(NamedTuple):
    """A layer: its short text, how it differs (``same``, ``changed`` or ``alone``), its category, and a tooltip."""

    text: str
    state: str
    category: str
    title: str


class Row(NamedTuple):
    """A block of both networks, or several like it; None where a network has no such block."""

    label: str
    first: Sequence[Chip] | None
    second: Sequence[Chip] | None
    differs: bool


class Section(NamedTuple):
    """A part of both networks."""

    name: str
    rows: Sequence[Row]


def html_page(comparison: Comparison, names: tuple[str, str]) -> str:
    """Return a page on two networks.

    Args:
        comparison: What differs.
        names: What the two are called.

    Returns:
        HTML without scripts and without references to other files.
    """
    sections = list(_sections(comparison))
    lines = comparison.lines()
    return render(PACKAGE, "diff.html", names=names, comparison=comparison, lines=lines, sections=sections)


def _sections(comparison: Comparison) -> Iterator[Section]:
    alignment = comparison.alignment
    changes: dict[int, list[Change]] = {}
    for change in changes_of(alignment, every=True):
        changes.setdefault(id(change.pair), []).append(change)

    def named(pair: Pair) -> str:
        return f"stage {pair.place.stage}" if pair.place.part == "stage" else pair.place.part

    for name, group in groupby(alignment.pairs, key=named):
        rows = [
            (block, _row(list(pairs), changes)) for block, pairs in groupby(group, key=lambda pair: pair.place.block)
        ]
        yield Section(name, list(_merged(rows)))


def _row(pairs: Sequence[Pair], changes: dict[int, list[Change]]) -> Row:
    first = [_chip(pair.first, pair, changes.get(id(pair), [])) for pair in pairs if pair.first]
    second = [_chip(pair.second, pair, changes.get(id(pair), [])) for pair in pairs if pair.second]
    differs = any(id(pair) in changes for pair in pairs)
    return Row("", first or None, second or None, differs)


def _merged(rows: Sequence[tuple[int, Row]]) -> Iterator[Row]:
    """Rows of blocks that look the same are one row."""

    def looks(item: tuple[int, Row]) -> object:
        sides = (item[1].first, item[1].second)
        return [side and [chip[:3] for chip in side] for side in sides]

    for _, group in groupby(rows, key=looks):
        found = list(group)
        numbers = [number for number, _ in found]
        yield found[0][1]._replace(label=blocks_text(numbers) if numbers[0] else "")


def _chip(node: Node, pair: Pair, changes: Sequence[Change]) -> Chip:
    state = "same" if not changes else "changed" if pair.first and pair.second else "alone"
    lines = [f"{node.name}: {phrase(node)}", "×".join(map(str, node.shape))]
    lines += [_change(change) for change in changes if change.kind not in ("added", "removed")]
    return Chip(_short(node), state, _category(node), "\n".join(lines))


def _change(change: Change) -> str:
    if change.kind == "field":
        return change_text(change.field, change.before, change.after, rank_of(change.node))
    if change.kind == "operation":
        return f"{change.after} instead of {change.before}"
    return "reads other values" if change.kind == "inputs" else "has parameters of another layer"


def _short(node: Node) -> str:
    fields = fields_of(node)
    kernel = "×".join(map(str, getattr(node.operation, "kernel", ())))
    text = SHORT.get(node.operation.op, word(node.operation.op))
    category = node.operation.category
    if category is Category.CONVOLUTION:
        text = f"{kernel}, {fields['channels']}"
    elif kernel:
        text = f"{kernel} {'max' if 'max' in node.operation.op else 'average'}"
    elif node.operation.op == "linear":
        text = f"linear {fields['features']}"
    stride = fields.get("stride", 1)
    return text if stride == 1 or not kernel else f"{text} /{stride}"


def _category(node: Node) -> str:
    known = {Category.CONVOLUTION: "kernel", Category.LINEAR: "kernel", Category.NORMALIZATION: "norm"}
    return known.get(node.operation.category, "other")
