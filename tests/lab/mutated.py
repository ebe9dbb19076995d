"""A backend made wrong by the mutation that a file names, read at each ``compile``: started once, it serves for all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec import Graph
from tests.lab.changes import Arrays, Change
from tests.lab.mutations import MUTATIONS

if TYPE_CHECKING:
    from resnet_spec.backend.optimizers import Optimizer

VARIABLE = "RESNET_SPEC_MUTATION"
"""Names the file that holds the name of a mutation, or nothing."""


def wanted() -> Change:
    """What is to be wrong now."""
    name = Path(os.environ[VARIABLE]).read_text(encoding="utf-8")
    return MUTATIONS[name].change if name else Change()


class Mutated:
    """Goes before a real backend among the bases of a class."""

    change = Change()

    def emitting(self, change: Change) -> AbstractContextManager[Any]:
        """While this lasts, layers are emitted wrong."""
        return nullcontext()

    def altered(self, model: Any, change: Change) -> None:
        """Make layers of a compiled model wrong."""

    def optimizing(self, name: str) -> AbstractContextManager[Any]:
        """While this lasts, an optimizer is wrong."""
        raise NotImplementedError

    def compile(self, graph: Graph, *, dtype: str = "float32", exact_statistics: bool = False) -> Any:
        self.change = wanted()
        exact = exact_statistics if self.change.exact_statistics is None else self.change.exact_statistics
        parent: Any = super()
        with self.emitting(self.change):
            whole = self.change.of_whole(self.change.of_nodes(graph))
            model = parent.compile(whole, dtype=dtype, exact_statistics=exact)
        self.altered(model, self.change)
        return model

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        parent: Any = super()
        changed = self.change.of_nodes(graph)
        given = self.change.arrays(dict(arrays))
        # A layer of its own begins with the arrays of the one that it should have called.
        calls = {node.name: node.layer for node in graph.nodes}
        held = {
            p.name: given.get(p.name, given.get(p.name.replace(p.node, calls[p.node], 1))) for p in changed.parameters()
        }
        parent.load(model, changed, held)

    def apply(self, model: Any, graph: Graph, name: str, inputs: Sequence[Any]) -> Any:
        parent: Any = super()
        changed = self.change.of_nodes(graph)
        values = dict(zip(graph.by_name[name].inputs, inputs, strict=True))
        return parent.apply(model, changed, name, [values[given] for given in changed.by_name[name].inputs])

    def train(self, model: Any, graph: Graph, batches: Iterable[Any], optimizer: Optimizer) -> list[float]:
        parent: Any = super()
        with self.optimizing(self.change.training) if self.change.training else nullcontext():
            return parent.train(model, graph, batches, optimizer)
