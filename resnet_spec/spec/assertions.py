"""Checks a spec's assertions against its graph: depth, number of parameters, patterns over names."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import prod
from typing import NamedTuple

from resnet_spec.document.parser import KeyPath
from resnet_spec.errors import suggest
from resnet_spec.graph import INPUT, MAX_PARAMETERS, Graph
from resnet_spec.operations import Category
from resnet_spec.spec.models import Network
from resnet_spec.spec.parameter_naming import KEY


class FailedAssertion(NamedTuple):
    """An assertion that does not hold, and the path of the value, or of the key, that makes it."""

    message: str
    path: KeyPath
    key: bool = False


def failed_assertions(network: Network, graph: Graph, whole: Graph, *, overridden: bool) -> Iterator[FailedAssertion]:
    """What a spec asserts and its graph contradicts; patterns are checked against the graph before outputs cut it."""
    total = sum(prod(parameter.shape) for parameter in graph.parameters() if parameter.trainable)
    if total > MAX_PARAMETERS:
        yield FailedAssertion(f"the network has {total:,} parameters, more than {MAX_PARAMETERS:,}", ())
    wanted = network.source.parameters
    if wanted is not None and wanted != total:
        message = f"states {wanted:,} trainable parameters, but the network has {total:,}"
        yield FailedAssertion(message, ("source", "parameters"))
    names = [parameter.systematic_name for parameter in whole.parameters()]
    # An override may remove what a pattern matches, such as the head.
    patterns = [("initialization", pattern) for pattern in network.initialization.patterns()]
    patterns += [(KEY, pattern) for pattern in network.parameter_names]
    for key, pattern in () if overridden else patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = "" if set(pattern) & set("*?[") else suggest(pattern, names)
            yield FailedAssertion(f"no parameter's name matches {pattern!r}{hint}", (key, pattern), key=True)
    if network.depth is not None and (depth := weighted_depth(graph)) != network.depth:
        message = f"states {network.depth} weighted layers on the main path, but the network has {depth}"
        yield FailedAssertion(message, ("depth",))


def weighted_depth(graph: Graph) -> int:
    """Convolutions and linear layers on the main path, the first input of every join, as ResNets count their depth."""
    depth, name = 0, graph.outputs[-1]
    while name != INPUT:
        node = graph.by_name[name]
        depth += node.operation.category in (Category.CONVOLUTION, Category.LINEAR)
        name = node.inputs[0]
    return depth
