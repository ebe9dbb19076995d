"""Maps a file's names to the graph's: removes wrappers, then translates other libraries' conventions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from resnet_spec.weights.layouts import from_tensorflow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Tensors = Mapping[str, NDArray[Any]]

WRAPPERS = ("module.", "_orig_mod.")
"""What PyTorch's DataParallel and torch.compile put before every name of the model that they wrap."""

RENAMES = {
    "resnet.embedder.embedder.convolution": "conv1",
    "resnet.embedder.embedder.normalization": "bn1",
    "resnet.encoder.stages.{0}.layers.{0}.shortcut.convolution": "layer{1}.{0}.downsample.0",
    "resnet.encoder.stages.{0}.layers.{0}.shortcut.normalization": "layer{1}.{0}.downsample.1",
    "resnet.encoder.stages.{0}.layers.{0}.layer.{0}.convolution": "layer{1}.{0}.conv{1}",
    "resnet.encoder.stages.{0}.layers.{0}.layer.{0}.normalization": "layer{1}.{0}.bn{1}",
    "classifier.1": "fc",
}
"""Layers of Hugging Face transformers' ResNets by the names that PyTorch's other libraries have for them: one to one.

``{0}`` is a number counted from 0, ``{1}`` the same one counted from 1.
"""

BASE = "resnet."
"""What the names begin with that a model without a classifier saves without it."""


def by_graph_names(graph: Graph, tensors: Tensors) -> Tensors:
    """Tensors under the graph's names, in its layout; a tensor that is not a parameter keeps its name."""
    if any("/" in name for name in tensors):
        return from_tensorflow(graph, tensors)
    known = {parameter.name for parameter in graph.parameters()}
    if known <= tensors.keys():
        return tensors
    bare = unwrapped(tensors)
    renamed = _renamed(known, bare)
    if known.isdisjoint(renamed):
        inner = _renamed(known, _without_scope(bare))
        if known <= inner.keys():
            return inner
    return renamed


def unwrapped(tensors: Tensors) -> Tensors:
    """Tensors without the wrappers that all of their names begin with."""
    begin = 0
    names = list(tensors)
    while wrapper := next((w for w in WRAPPERS if names and all(n.startswith(w, begin) for n in names)), None):
        begin += len(wrapper)
    return {name[begin:]: tensor for name, tensor in tensors.items()}


def _without_scope(tensors: Tensors) -> Tensors:
    """Tensors without the name of an attribute that contained the whole model (``model.conv1.weight``)."""
    scopes = {name.partition(".")[0] + "." for name in tensors}
    if len(scopes) != 1:
        return tensors
    (scope,) = scopes
    return {name.removeprefix(scope): tensor for name, tensor in tensors.items()}


# -- Hugging Face transformers' names ----------------------------------------------------------------------------


def _renamed(known: set[str], tensors: Tensors) -> Tensors:
    """Tensors of a transformers model by the names in ``known``; if two map to one name, the second keeps its own."""
    renamed: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        ours = from_transformers(name)
        fits = ours in known and ours not in tensors and ours not in renamed
        renamed[ours if ours and fits else name] = tensor
    return renamed


@lru_cache(maxsize=2**14)
def from_transformers(name: str) -> str | None:
    """The graph's name for a tensor of transformers' model (with a classifier or without), None if it has none.

    >>> from_transformers("resnet.encoder.stages.0.layers.2.layer.1.normalization.bias")
    'layer1.2.bn2.bias'
    """
    layer, _, parameter = name.rpartition(".")
    found = _translated(layer, _FROM) or _translated(BASE + layer, _FROM)
    return f"{found}.{parameter}" if found else None


@lru_cache(maxsize=2**14)
def to_transformers(name: str) -> str | None:
    """The name in transformers' model with a classifier for a tensor of the graph, None if it has none.

    >>> to_transformers("layer1.2.bn2.bias")
    'resnet.encoder.stages.0.layers.2.layer.1.normalization.bias'
    """
    layer, _, parameter = name.rpartition(".")
    found = _translated(layer, _TO)
    return f"{found}.{parameter}" if found else None


_Rule = tuple[re.Pattern[str], tuple[int, ...], str]

# Up to 9999 of anything, and without leading zeros, so that no two names mean one.
_NUMBERS = {"0": r"(0|[1-9]\d{0,3})", "1": r"([1-9]\d{0,3})"}
_PLACE = re.compile(r"\{([01])\}")


def _rules(pairs: Iterable[tuple[str, str]]) -> list[_Rule]:
    """A pattern for the first of each pair, what to add to its numbers, and the second with places to put them."""
    rules: list[_Rule] = []
    for theirs, ours in pairs:
        words = _PLACE.split(theirs)
        pattern = "".join(_NUMBERS[word] if place % 2 else re.escape(word) for place, word in enumerate(words))
        shifts = tuple(int(b) - int(a) for a, b in zip(words[1::2], _PLACE.findall(ours), strict=True))
        rules.append((re.compile(pattern), shifts, _PLACE.sub("{}", ours)))
    return rules


_FROM = _rules(RENAMES.items())
_TO = _rules((ours, theirs) for theirs, ours in RENAMES.items())


def _translated(layer: str, rules: list[_Rule]) -> str | None:
    for pattern, shifts, template in rules:
        if found := pattern.fullmatch(layer):
            return template.format(*(int(n) + shift for n, shift in zip(found.groups(), shifts, strict=True)))
    return None
