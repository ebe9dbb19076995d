"""Padding as native layers take it."""

from __future__ import annotations

from resnet_spec.operations.fields import Edges


def same_on_both_sides(edges: Edges | None) -> tuple[int, int] | None:
    """Return the rows and columns on either side, or None if a native layer cannot take this padding."""
    if edges is None:
        return None
    (top, bottom), (left, right) = edges
    return (top, left) if (top, left) == (bottom, right) else None
