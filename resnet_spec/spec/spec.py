"""A spec: what its file says, after ``extends`` and overrides, with the place of every word for errors."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import PrivateAttr

from resnet_spec.document.dump import to_yaml
from resnet_spec.document.parser import Document, KeyPath
from resnet_spec.errors import Position
from resnet_spec.graph import Graph
from resnet_spec.spec.models import Network


class Spec(Network):
    """A validated spec, with every block it uses; ``to_graph()`` gives it a meaning.

    Made by ``resnet_spec.load``, or from plain data by ``Spec.model_validate``, which then must hold its blocks.
    """

    _document: Document | None = PrivateAttr(default=None)
    _overridden: bool = PrivateAttr(default=False)

    @property
    def overridden(self) -> bool:
        """Whether it was changed from outside, so that what its file says of itself need not hold."""
        return self._overridden

    def to_graph(self) -> Graph:
        """Lower to a graph; raises SpecError with every problem, located in the spec's files."""
        from resnet_spec.spec.lowering import lower

        return lower(self)

    def to_yaml(self) -> str:
        """The spec as one YAML text that needs no other file: extends, overrides and blocks resolved."""
        return to_yaml(self.data())

    def data(self) -> Any:
        """The resolved spec as plain data, as its YAML has it."""
        return self._document.data if self._document is not None else self.model_dump(mode="json", by_alias=True)

    def position(self, path: KeyPath, *, key: bool = False) -> Position | None:
        """Where the value (or the key) at a path is written, or else what holds it."""
        if self._document is None:
            return None
        return (self._document.keys.get(path) if key else None) or self._document.position(path)

    def block_names(self) -> set[str]:
        """Blocks that could be named: the spec's own and the shipped."""
        return {*self.blocks, *_shipped_blocks()}


@cache
def _shipped_blocks() -> tuple[str, ...]:
    from resnet_spec.spec.catalog import Catalog

    return tuple(Catalog.shipped().blocks())
