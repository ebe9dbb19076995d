"""Which layers of a graph a backend cannot express, found by compiling the graph without weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError, Problem
from resnet_spec.graph import INPUT, Graph, Input, Node
from resnet_spec.operations import Reshape
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
    """A network of one node; an input that is neither a map nor a vector is made from a vector."""
    if len(shape) == 3:
        given = Input(channels=shape[0], height=shape[1], width=shape[2])
        return Graph(name="layer", input=given, nodes=(_from(node, INPUT),), outputs=(node.name,))
    if len(shape) == 1:
        return Graph(name="layer", input=Input(features=shape[0]), nodes=(_from(node, INPUT),), outputs=(node.name,))
    first = Node(name="given", operation=Reshape(op="reshape", shape=shape), inputs=(INPUT,), shape=shape)
    nodes = (first, _from(node, first.name))
    return Graph(name="layer", input=Input(features=prod(shape)), nodes=nodes, outputs=(node.name,))


def _from(node: Node, source: str) -> Node:
    return node.model_copy(update={"inputs": (source,) * len(node.inputs)})
