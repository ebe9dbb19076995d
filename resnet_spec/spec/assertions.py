"""What a spec says of itself, held to the graph it lowers to: its depth, its parameters, its patterns over names."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from resnet_spec.graph import INPUT, MAX_PARAMETERS, Graph
from resnet_spec.operations import Category

if TYPE_CHECKING:
    from resnet_spec.document.parser import KeyPath
    from resnet_spec.spec.spec import Spec


class Untrue(NamedTuple):
    """A claim that does not hold, and the value, or the key, with which the spec makes it."""

    message: str
    path: KeyPath
    key: bool = False


def untrue_claims(spec: Spec, graph: Graph, whole: Graph) -> Iterator[Untrue]:
    """What a spec states and its graph does not bear out; patterns count for the whole graph, before taps cut it."""
    parameters = graph.parameters()
    total = sum(prod(parameter.shape) for parameter in parameters if parameter.trainable)
    if total > MAX_PARAMETERS:
        yield Untrue(f"the network has {total:,} parameters, more than {MAX_PARAMETERS:,}", ())
    stated = spec.source.parameters
    if stated is not None and stated != total:
        message = f"states {stated:,} trainable parameters, but the network has {total:,}"
        yield Untrue(message, ("source", "parameters"))
    names = [parameter.name for parameter in whole.parameters()]
    # An override may take out what a pattern means, such as the head.
    for pattern in () if spec.overridden else spec.initialization.patterns():
        if not fnmatch.filter(names, pattern):
            yield Untrue(f"no parameter's name matches {pattern!r}", ("initialization", pattern), key=True)
    if spec.depth is not None and (depth := weighted_depth(graph)) != spec.depth:
        message = f"states {spec.depth} weighted layers on the main path, but the network has {depth}"
        yield Untrue(message, ("depth",))


def weighted_depth(graph: Graph) -> int:
    """Convolutions and linear layers on the main path, the first input of every join, as ResNets count their depth."""
    depth, name = 0, graph.outputs[-1]
    while name != INPUT:
        node = graph.by_name[name]
        depth += node.operation.category in (Category.CONVOLUTION, Category.LINEAR)
        name = node.inputs[0]
    return depth
