"""Adds the statistics of normalizations that a library folded into scale and offset before saving, as Detectron did.

Detectron2's FrozenBatchNorm2d has a mean of 0 and a variance of 1 - epsilon then, with which y = scale · x + offset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.operations import Role
from resnet_spec.weights.naming import possible_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Tensors = Mapping[str, NDArray[Any]]

STATISTICS = (Role.NORM_MEAN, Role.NORM_VARIANCE)


def with_folded_statistics(graph: Graph, tensors: Tensors) -> tuple[Tensors, list[str]]:
    """Tensors with statistics that change nothing, where a library that folds them has scales and none of them."""
    import numpy as np

    for table in possible_tables(tuple(tensors)):
        if not table.folded_statistics:
            continue
        names: defaultdict[tuple[str, Role], list[str]] = defaultdict(list)
        for name, parameter in table.names(graph):
            names[parameter.node, parameter.role].append(name)
        scales = {node: known for (node, role), known in names.items() if role is Role.NORM_SCALE}
        lacking = {key: known for key, known in names.items() if key[1] in STATISTICS}
        if not scales or len(lacking) != 2 * len(scales):
            continue
        first = next(iter(scales.values()))
        for prefix in [name.removesuffix(end) for end in first for name in tensors if name.endswith(end)]:
            given = {node: _held(tensors, prefix, known) for node, known in scales.items()}
            if None in given.values() or any(_held(tensors, prefix, known) for known in lacking.values()):
                continue
            added: dict[str, NDArray[Any]] = {}
            for (node, role), known in lacking.items():
                epsilon: float = cast("Any", graph.by_name[node].operation).epsilon
                value = 1 - epsilon if role is Role.NORM_VARIANCE else 0
                added[f"{prefix}{known[0]}"] = np.full_like(tensors[given[node] or ""], value)
            remark = (
                f"its {len(scales)} batch normalizations have no statistics, since {table.name} folds them into scale "
                "and offset; a mean of 0 and a variance of 1 - epsilon are used"
            )
            return {**tensors, **added}, [remark]
    return tensors, []


def _held(tensors: Tensors, prefix: str, names: Sequence[str]) -> str | None:
    """The first of some names below a prefix that a file has."""
    return next((f"{prefix}{name}" for name in names if f"{prefix}{name}" in tensors), None)
