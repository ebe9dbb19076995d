"""Two networks node by node: what is equal, what differs, and what only one has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from resnet_spec.describing.alignment import Alignment, Pair
from resnet_spec.describing.changes import Change, changes_of
from resnet_spec.describing.phrases import phrase, value_text
from resnet_spec.graph import Graph, Node, canonical

MARKS = {"same": " ", "changed": "~", "removed": "-", "added": "+"}
"""What lines begin with, as in other tools' output."""


def pair_lines(alignment: Alignment) -> Iterator[str]:
    """A line for each node that differs, and one for each row of nodes that do not."""
    changes = _by_pair(alignment)
    for same, run in groupby(alignment.pairs, key=lambda pair: id(pair) not in changes):
        pairs = list(run)
        if same:
            yield f"  … {len(pairs)} equal layer{'s' if len(pairs) > 1 else ''}"
            continue
        for pair in pairs:
            yield from _lines(alignment, pair, changes[id(pair)])


def _by_pair(alignment: Alignment) -> dict[int, list[Change]]:
    found: dict[int, list[Change]] = {}
    for change in changes_of(alignment, every=True):
        found.setdefault(id(change.pair), []).append(change)
    return found


def _lines(alignment: Alignment, pair: Pair, changes: Sequence[Change]) -> Iterator[str]:
    if pair.first is None or pair.second is None:
        node = changes[0].node
        yield f"{MARKS[changes[0].kind]} {node.name}: {phrase(node)}"
        return
    one, other = pair.first, pair.second
    yield f"{MARKS['changed']} {one.name}" + (f" → {other.name}" if one.name != other.name else "")
    for change in changes:
        if change.kind == "operation":
            yield f"      {phrase(one)} → {phrase(other)}"
        elif change.kind == "field":
            yield f"      {change.field} {value_text(change.before)} → {value_text(change.after)}"
        elif change.kind == "inputs":
            yield f"      inputs {', '.join(one.inputs)} → {', '.join(other.inputs)}"
        else:
            yield f"      parameters of {one.layer} → of {other.layer}"


def pair_data(alignment: Alignment) -> list[dict[str, Any]]:
    """Every pair as plain data: the two nodes, and the names of the fields that differ."""
    changes = _by_pair(alignment)
    rows: list[dict[str, Any]] = []
    for pair in alignment.pairs:
        own = changes.get(id(pair), [])
        status = own[0].kind if own and own[0].kind in ("added", "removed") else "changed" if own else "same"
        rows.append(
            {
                "status": status,
                "part": pair.place.part if pair.place.part != "stage" else f"stage {pair.place.stage}",
                "block": pair.place.block or None,
                "first": _node_data(alignment.first.graph, pair.first),
                "second": _node_data(alignment.second.graph, pair.second),
                "differs": list(dict.fromkeys(change.field or change.kind for change in own)),
            }
        )
    return rows


def _node_data(graph: Graph, node: Node | None) -> dict[str, Any] | None:
    return None if node is None else canonical(node) | {"shape": list(node.shape)}
