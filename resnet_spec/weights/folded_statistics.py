"""Adds the statistics of normalizations that a library folded into scale and offset before saving, as Detectron did.

Detectron2's FrozenBatchNorm2d has a mean of 0 and a variance of 1 - epsilon then, with which y = scale · x + offset.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        names = {(parameter.node, parameter.role): name for name, parameter in table.names(graph)}
        scales = [(node, name) for (node, role), name in names.items() if role is Role.NORM_SCALE]
        lacking = [(node, role, name) for (node, role), name in names.items() if role in STATISTICS]
        if not scales or len(lacking) != 2 * len(scales):
            continue
        for prefix in [name.removesuffix(scales[0][1]) for name in tensors if name.endswith(scales[0][1])]:
            given = {node: tensors.get(f"{prefix}{name}") for node, name in scales}
            if any(scale is None for scale in given.values()) or any(
                f"{prefix}{name}" in tensors for *_, name in lacking
            ):
                continue
            added: dict[str, NDArray[Any]] = {}
            for node, role, name in lacking:
                scale: Any = given[node]
                epsilon: float = cast("Any", graph.by_name[node].operation).epsilon
                value = 1 - epsilon if role is Role.NORM_VARIANCE else 0
                added[f"{prefix}{name}"] = np.full_like(scale, value)
            remark = (
                f"its {len(scales)} batch normalizations have no statistics, since {table.name} folds them into scale "
                "and offset; a mean of 0 and a variance of 1 - epsilon are used"
            )
            return {**tensors, **added}, [remark]
    return tensors, []
