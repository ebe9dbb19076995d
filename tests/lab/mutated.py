"""A mutated backend: each ``compile`` reads the name of the mutation from a file, so that one process runs them all."""

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
"""The environment variable with the path of that file, which is empty for no mutation."""


def wanted() -> Change:
    """Return the change of the current mutation."""
    name = Path(os.environ[VARIABLE]).read_text(encoding="utf-8")
    return MUTATIONS[name].change if name else Change()


class Mutated:
    """A mixin, which precedes a backend's class among the bases."""

    change = Change()

    def emitting(self, change: Change) -> AbstractContextManager[Any]:
        """Return a context in which layers are emitted with the change."""
        return nullcontext()

    def altered(self, model: Any, change: Change) -> None:
        """Change layers of a compiled model."""

    def optimizing(self, name: str) -> AbstractContextManager[Any]:
        """Return a context in which an optimizer has the change."""
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
        # A new layer starts with the arrays of the layer that it replaces.
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
