"""Which layers of a graph a backend cannot express, found by compiling the graph without weights."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError, Problem
from resnet_spec.graph import INPUT, Graph, Input, Node
from resnet_spec.operations.fields import Shape


def unsupported(graph: Graph, backend: Backend) -> list[Problem]:
    """What a backend cannot express of a graph, each problem with the layer's name and the backend's."""
    try:
        backend.compile(graph, dtype="float32")
    except BackendError as error:
        # Compiling stops at the first one; the others are found one by one.
        found = [*_layer_problems(graph, backend)]
        named = {problem.path for problem in found}
        found += [problem for problem in error.problems if problem.path not in named]
        return [problem._replace(message=f"{problem.message} (backend {backend.name!r})") for problem in found]
    return []


def _layer_problems(graph: Graph, backend: Backend) -> Iterator[Problem]:
    """The problems of each layer by itself, of those that have one kind of input."""
    known: dict[str, tuple[Problem, ...]] = {}
    for node in graph.nodes:
        shapes = set(graph.input_shapes(node))
        if node.calls is not None or len(shapes) != 1:
            continue
        key = f"{node.operation!r} {shapes}"
        if key not in known:
            try:
                backend.compile(_single(node, *shapes), dtype="float32")
                known[key] = ()
            except BackendError as error:
                known[key] = error.problems
        yield from (problem._replace(path=node.name) for problem in known[key])


def _single(node: Node, shape: Shape) -> Graph:
    """A network of one node."""
    alone = node.model_copy(update={"inputs": (INPUT,) * len(node.inputs)})
    return Graph(name="layer", input=Input.of(shape), nodes=(alone,), outputs=(node.name,))
