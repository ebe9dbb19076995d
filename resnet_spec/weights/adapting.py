"""Adapts weights of a slightly different network; each adaptation is requested by name and logged."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import Problem, WeightsError, suggest
from resnet_spec.graph import INPUT
from resnet_spec.graph.initialization import draw
from resnet_spec.operations import KERNELS, Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter
    from resnet_spec.operations.fields import Shape

    Tensors = dict[str, NDArray[Any]]

log = logging.getLogger(__name__)

BACKGROUND = 1001
"""Classes of a network that counts "background" first among ImageNet's thousand."""

COLORS = 3
"""Red, green and blue, from whose kernels those for other channels are made."""


def is_counter(name: str) -> bool:
    """Whether a tensor's name is that of a count of batches, which is optional in a file and never a parameter."""
    return re.split(r"[./]", name)[-1] == COUNTER


def counters_among(arrays: Mapping[str, NDArray[Any]]) -> Tensors:
    """The arrays that are counts of batches."""
    return {name: array for name, array in arrays.items() if is_counter(name)}


def checked_adaptations(adapt: str | Collection[str]) -> Collection[str]:
    """The requested adaptations, of which a single one may be a string; raises WeightsError for an unknown one."""
    adapt = [adapt] if isinstance(adapt, str) else adapt
    known = ", ".join(ADAPTATIONS)
    unknown = [name for name in adapt if name not in ADAPTATIONS]
    if unknown:
        messages = [f"unknown adaptation {name!r}{suggest(name, ADAPTATIONS)} (known: {known})" for name in unknown]
        raise WeightsError(map(Problem, messages))
    return adapt


def adapt_to(graph: Graph, tensors: Mapping[str, NDArray[Any]], adapt: str | Collection[str], seed: int = 0) -> Tensors:
    """The tensors after the requested changes; those that fit are unchanged.

    Raises WeightsError for an unknown adaptation.
    """
    adapt = checked_adaptations(adapt)
    adapted = dict(tensors)
    # In this order, whatever the user's: a half-precision head is widened before it is cut.
    for name, adaptation in ADAPTATIONS.items():
        if name in adapt:
            adaptation(graph, adapted, seed)
    return adapted


def head_parameters(graph: Graph) -> list[Parameter]:
    """The parameters of the layer that computes the logits; empty without a head."""
    layers = _layers(graph)
    name = graph.logits
    while name != INPUT:
        node = graph.by_name[name]
        if node.layer in layers:
            own = layers[node.layer]
            classifies = any(p.role in KERNELS for p in own) and set(node.shape[1:]) <= {1}
            return own if classifies else []
        if node.operation.joins:
            return []
        name = node.inputs[0]
    return []


def first_kernels(graph: Graph) -> list[Parameter]:
    """The convolutions' kernels that read every channel of the input, through layers without parameters at most."""
    layers = _layers(graph)
    plain = {INPUT}
    found: dict[str, Parameter] = {}
    for node in graph.nodes:
        if plain.isdisjoint(node.inputs):
            continue
        if node.layer not in layers:
            plain.add(node.name)
        for parameter in layers.get(node.layer, ()):
            if parameter.role is Role.CONV_KERNEL and parameter.shape[1] == graph.input.channels:
                found[parameter.name] = parameter
    return list(found.values())


def _layers(graph: Graph) -> Mapping[str, list[Parameter]]:
    """The parameters of each layer that has any."""
    layers: dict[str, list[Parameter]] = {}
    for parameter in graph.parameters():
        layers.setdefault(parameter.node, []).append(parameter)
    return layers


def other_width(given: Shape, wanted: Shape, axis: int) -> int | None:
    """The size of a shape along an axis, if the shape differs from the wanted one only there."""
    alike = len(given) == len(wanted) and given[:axis] == wanted[:axis] and given[axis + 1 :] == wanted[axis + 1 :]
    return given[axis] if alike and given[axis] != wanted[axis] else None


def _widen(graph: Graph, tensors: Tensors, seed: int) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.name == "float16":
            tensors[name] = tensor.astype("float32")


def _drop_background(graph: Graph, tensors: Tensors, seed: int) -> None:
    for parameter in head_parameters(graph):
        tensor = tensors.get(parameter.name)
        if tensor is None or parameter.shape[0] != BACKGROUND - 1:
            continue
        if other_width(tensor.shape, parameter.shape, 0) == BACKGROUND:
            tensors[parameter.name] = tensor[1:]
            log.warning("%s: dropped the first of its 1001 classes, the background", parameter.name)


def _reinitialize_head(graph: Graph, tensors: Tensors, seed: int) -> None:
    head = [parameter for parameter in head_parameters(graph) if parameter.name in tensors]
    widths = {other_width(tensors[parameter.name].shape, parameter.shape, 0) for parameter in head}
    if len(widths) != 1 or not (given := widths.pop()):
        return
    tensors.update(draw(graph, head, seed))
    names = ", ".join(parameter.name for parameter in head)
    message = "%s: reinitialized at random, since the file has %d classes, not %d"
    log.warning(message, names, given, head[0].shape[0])


def _spread_channels(graph: Graph, tensors: Tensors, seed: int) -> None:
    import numpy as np

    channels = graph.input.channels
    for parameter in first_kernels(graph):
        tensor = tensors.get(parameter.name)
        if tensor is None or other_width(tensor.shape, parameter.shape, 1) != COLORS:
            continue
        if channels == 1:
            tensors[parameter.name] = tensor.sum(axis=1, keepdims=True)
            log.warning("%s: summed its kernels for red, green and blue", parameter.name)
        else:
            repeated = np.take(tensor, range(channels), axis=1, mode="wrap")
            tensors[parameter.name] = repeated * np.asarray(COLORS / channels, tensor.dtype)
            message = "%s: repeated its kernels for red, green and blue for %d channels, times 3/%d"
            log.warning(message, parameter.name, channels, channels)


def _drop_rest(graph: Graph, tensors: Tensors, seed: int) -> None:
    rest = beyond_backbone(graph, tensors)
    for name in rest:
        del tensors[name]
    if rest:
        log.warning("dropped, since the network has no such layers: %s", ", ".join(rest))


def beyond_backbone(graph: Graph, names: Collection[str]) -> list[str]:
    """The tensors that follow the graph's last parameter, if all of its parameters are present.

    Tensors inside one of the graph's own stages do not count: a deeper network's first blocks are not a backbone.
    """
    known = {parameter.name for parameter in graph.parameters()}
    stages = [scope.name for scope in graph.scopes if scope.kind == "stage"]
    rest = [name for name in names if name not in known and not is_counter(name)]
    inside = any(stage in name for name in rest for stage in stages)
    return [] if inside or not known.issubset(names) else rest


ADAPTATIONS: Mapping[str, Callable[[Graph, Tensors, int], None]] = {
    "half": _widen,
    "background": _drop_background,
    "classes": _reinitialize_head,
    "channels": _spread_channels,
    "backbone": _drop_rest,
}
"""By name: half-precision files; 1001 classes for 1000; another number of classes; of input channels; no head."""
