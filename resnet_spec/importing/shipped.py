"""Finds the shipped blocks that may be what an imported block is; whether they are, only the whole spec shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from resnet_spec.spec.catalog import Catalog

FACTS = frozenset({"channels", "width", "stride", "dilation", "groups"})
"""Parameters of shipped blocks that follow from a block's layers."""


def candidates(body: Mapping[str, Any]) -> Iterator[str]:
    """The shipped blocks that have all steps of a block, by the same names."""
    for name, block in _blocks().items():
        if all(set(body.get(section, {})) <= set(block.get(section) or {}) for section in ("main", "after")):
            yield name


def shipped_parameters(block: str) -> list[str]:
    """The parameters of a shipped block that follow from its layers."""
    parameters: Mapping[str, Any] = _blocks()[block].get("parameters") or {}
    return [name for name in parameters if name in FACTS]


@cache
def _blocks() -> Mapping[str, Mapping[str, Any]]:
    catalog = Catalog.shipped()
    return {name: catalog.document(path).data for name, path in catalog.blocks().items()}
