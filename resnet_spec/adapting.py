"""Weights of a network that differs a little: each adaptation is asked for by its name, and says what it did."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import WeightsError, suggest
from resnet_spec.graph import INPUT
from resnet_spec.initialization import initialize
from resnet_spec.operations import KERNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter

    Tensors = dict[str, NDArray[Any]]

log = logging.getLogger(__name__)

BACKGROUND = 1001
"""Classes of a network that counts "background" first among ImageNet's thousand."""


def adapt_to(graph: Graph, tensors: Mapping[str, NDArray[Any]], adapt: Iterable[str], seed: int = 0) -> Tensors:
    """Tensors changed as asked; what already fits is left as it is. Raises WeightsError for an unknown adaptation."""
    adapted = dict(tensors)
    for name in adapt:
        if name not in ADAPTATIONS:
            known = ", ".join(ADAPTATIONS)
            raise WeightsError(f"there is no adaptation {name!r}{suggest(name, ADAPTATIONS)} (there are: {known})")
    # In this order, whatever the user's: a half-precision head is widened before it is cut.
    for name, adaptation in ADAPTATIONS.items():
        if name in adapt:
            adaptation(graph, adapted, seed)
    return adapted


def head_parameters(graph: Graph) -> list[Parameter]:
    """The parameters of the last layer before the logits that has any: one of each of its outputs is a class."""
    name = graph.logits
    owners = {parameter.node for parameter in graph.parameters()}
    while name != INPUT:
        node = graph.by_name[name]
        if node.layer in owners:
            return [p for p in graph.parameters() if p.node == node.layer]
        name = node.inputs[0]
    return []


def first_kernels(graph: Graph) -> list[Parameter]:
    """The kernels that read the network's input, through layers without parameters."""
    kernels = {parameter.node: parameter for parameter in graph.parameters() if parameter.role in KERNELS}
    owners = {parameter.node for parameter in graph.parameters()}
    plain = {INPUT}
    found: dict[str, Parameter] = {}
    for node in graph.nodes:
        if node.inputs[0] in plain:
            if node.layer in kernels:
                found[node.layer] = kernels[node.layer]
            elif node.layer not in owners:
                plain.add(node.name)
    return list(found.values())


def _widen(graph: Graph, tensors: Tensors, seed: int) -> None:
    halves = [name for name, tensor in tensors.items() if tensor.dtype.name == "float16"]
    for name in halves:
        tensors[name] = tensors[name].astype("float32")
    if halves:
        log.warning("%d tensors were stored in half precision", len(halves))


def _drop_background(graph: Graph, tensors: Tensors, seed: int) -> None:
    for parameter in head_parameters(graph):
        tensor = tensors.get(parameter.name)
        if tensor is None or parameter.shape[0] != BACKGROUND - 1:
            continue
        if tensor.shape[:1] == (BACKGROUND,):
            tensors[parameter.name] = tensor[1:]
            log.warning("%s: the first of its 1001 classes, the background, was left out", parameter.name)


def _renew_head(graph: Graph, tensors: Tensors, seed: int) -> None:
    head = head_parameters(graph)
    differing = [p for p in head if p.name in tensors and tensors[p.name].shape[:1] != p.shape[:1]]
    if not differing:
        return
    held = tensors[differing[0].name].shape[0]
    drawn = initialize(graph, seed)
    for parameter in head:
        tensors[parameter.name] = drawn[parameter.name]
    names = ", ".join(parameter.name for parameter in head)
    wanted = differing[0].shape[0]
    log.warning("%s: left out of the file, which has %d classes, not %d, and drawn at random", names, held, wanted)


def _spread_channels(graph: Graph, tensors: Tensors, seed: int) -> None:
    import numpy as np

    for parameter in first_kernels(graph):
        tensor, channels = tensors.get(parameter.name), parameter.shape[1]
        if tensor is None or tensor.ndim < 2 or tensor.shape[1] != 3 or channels == 3:
            continue
        if channels == 1:
            tensors[parameter.name] = tensor.sum(axis=1, keepdims=True)
            log.warning("%s: its kernels for red, green and blue were added up", parameter.name)
        else:
            repeated = np.take(tensor, range(channels), axis=1, mode="wrap")
            tensors[parameter.name] = repeated * np.asarray(3 / channels, tensor.dtype)
            message = "%s: its kernels for red, green and blue were repeated for %d channels, times 3/%d"
            log.warning(message, parameter.name, channels, channels)


def _leave_out_rest(graph: Graph, tensors: Tensors, seed: int) -> None:
    known = {parameter.name for parameter in graph.parameters()}
    rest = sorted(tensors.keys() - known) if known <= tensors.keys() else []
    for name in rest:
        del tensors[name]
    if rest:
        log.warning("left out, since the network has no such layers: %s", ", ".join(rest))


ADAPTATIONS: Mapping[str, Callable[[Graph, Tensors, int], None]] = {
    "half": _widen,
    "background": _drop_background,
    "classes": _renew_head,
    "channels": _spread_channels,
    "backbone": _leave_out_rest,
}
"""By name: half-precision files; 1001 classes for 1000; another number of classes; of input channels; no head."""
