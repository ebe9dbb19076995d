"""From the names that a file has to the graph's: wrappers taken off, then the conventions of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.layouts import from_tensorflow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Tensors = Mapping[str, NDArray[Any]]

WRAPPERS = ("module.", "_orig_mod.")
"""What PyTorch's DataParallel and torch.compile put before every name of the model that they wrap."""


def by_graph_names(graph: Graph, tensors: Tensors) -> Tensors:
    """Tensors under the graph's names, in its layout; one whose name is no parameter's keeps it."""
    if any("/" in name for name in tensors):
        return from_tensorflow(graph, tensors)
    return _without_scope({parameter.name for parameter in graph.parameters()}, unwrapped(tensors))


def unwrapped(tensors: Tensors) -> Tensors:
    """Tensors without the wrappers that all of their names begin with."""
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            return unwrapped({name.removeprefix(wrapper): tensor for name, tensor in tensors.items()})
    return tensors


def _without_scope(known: set[str], tensors: Tensors) -> Tensors:
    """Tensors without the name of an attribute that held the model (``model.conv1.weight``), if they fit only then."""
    scopes = {name.partition(".")[0] + "." for name in tensors}
    if len(scopes) != 1 or not known.isdisjoint(tensors):
        return tensors
    (scope,) = scopes
    inner = {name.removeprefix(scope): tensor for name, tensor in tensors.items()}
    return inner if known <= inner.keys() else tensors
