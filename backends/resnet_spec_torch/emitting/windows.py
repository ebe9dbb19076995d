"""Padding as native layers take it."""

from __future__ import annotations

from resnet_spec.operations.fields import Edges


def same_on_both_sides(edges: Edges | None) -> tuple[int, ...] | None:
    """Return the positions on either side of each axis, or None if a native layer cannot take this padding."""
    if edges is None or any(before != after for before, after in edges):
        return None
    return tuple(before for before, _ in edges)
