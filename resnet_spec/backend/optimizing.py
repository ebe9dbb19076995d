"""The optimized form of a network in a backend: the core's passes, then what only the backend can decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.optimization import Rewriting, optimize, pipeline, split_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_spec.backend.protocol import Backend
    from resnet_spec.graph import Graph


class Forms(NamedTuple):
    """A network in the forms between a graph and the one that a backend compiles.

    Attributes:
        graphs: The graph, after the core's passes, and after the backend's choices, which may be the same.
        rewritings: From each of these to the last.
    """

    graphs: tuple[Graph, ...]
    rewritings: tuple[Rewriting, ...]

    @classmethod
    def unchanged(cls, graph: Graph) -> Forms:
        """The only form of a network that is compiled as it is.

        Args:
            graph: The network.

        Returns:
            Forms whose first is the last.
        """
        return cls((graph,), (Rewriting.unchanged(graph),))

    @property
    def rewriting(self) -> Rewriting:
        """From the graph to the last form."""
        return self.rewritings[0]


def core_forms(graph: Graph) -> Forms:
    """Return the forms of a network that every backend can compile: itself, and what the core's passes make of it.

    Args:
        graph: The network.

    Returns:
        The forms, without what a backend chooses.
    """
    core = optimize(graph)
    return Forms((graph, core.graph), (core, Rewriting.unchanged(core.graph)))


def optimized(backend: Backend, graph: Graph, passes: int | None = None) -> Forms:
    """Return the forms of a network on the way to the fastest in a backend.

    Args:
        backend: The backend; ``group_parts`` is called if it has such a method.
        graph: The network.
        passes: How many of the core's passes to apply, without what the backend chooses, to find a wrong one; by
            default all, and what the backend chooses.

    Returns:
        The forms; the last graph is to be compiled, and its model passed to ``finish``.
    """
    core = optimize(graph, pipeline.PASSES[:passes])
    group_parts = getattr(backend, "group_parts", None) if passes is None else None
    parts: Mapping[str, int] = group_parts(core.graph) if group_parts is not None else {}
    own = split_groups(core.graph, parts)
    return Forms((graph, core.graph, own.graph), (core.then(lambda _: own), own, Rewriting.unchanged(own.graph)))


def finish(backend: Backend, model: Any) -> None:
    """Let a backend change a model of the last form once its parameters are set: their layout in memory, for example.

    Args:
        backend: The backend; ``finish`` is called if it has such a method.
        model: A model that it compiled and loaded.
    """
    own = getattr(backend, "finish", None)
    if own is not None:
        own(model)
