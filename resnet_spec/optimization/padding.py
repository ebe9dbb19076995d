"""Padding by the layer that needs it, instead of by a node before it, which copies the map."""

from __future__ import annotations

from pydantic import ValidationError

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import AnyOperation, AvgPool, Conv, MaxPool, Pad, StdConv
from resnet_spec.operations.fields import Edges
from resnet_spec.optimization.rewriting import Rewriting, Uses, replaced


def merge_padding(graph: Graph) -> Rewriting:
    """Merge a padding with zeros into the only layer that reads it.

    Requires:
        The padding adds zeros; only one node reads it, and both layers are called once. That node is

        - a convolution whose padding is given in numbers,
        - a max pool of values none of which is below zero, where zeros change no maximum, or
        - an average pool without padding, or one whose padding counts as values of the mean.

        A pool must round down, and the padding may be at most half of its kernel.

    Ensures:
        No such padding is left. The layer has its name and computes its value.

    Args:
        graph: Any graph.

    Returns:
        The graph; no array changes.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import merge_padding
        >>> graph = merge_padding(resnet_spec.load("keras/resnet50").to_graph()).graph
        >>> graph.by_name["conv1_conv"].inputs, graph.by_name["conv1_conv"].operation.padding
        (('input',), ((3, 3), (3, 3)))
    """
    operations: dict[str, AnyOperation] = {}
    removed: dict[str, str] = {}
    uses = Uses(graph)
    for pad in graph.nodes:
        reader = uses.only_reader(pad)
        if not (isinstance(pad.operation, Pad) and pad.operation.adds_zeros and uses.called_once(pad)):
            continue
        # Of two paddings in a row the first is merged when the pass is applied to the result.
        if reader is None or not uses.called_once(reader):
            continue
        merged = _merged(reader.operation, pad.operation.padding, nonnegative=_is_nonnegative(graph, pad))
        if merged is not None:
            operations[reader.name], removed[pad.name] = merged, pad.inputs[0]
    if not operations:
        return Rewriting.unchanged(graph)
    return replaced(graph, operations, removed, {}).then(merge_padding)


def _merged(operation: AnyOperation, edges: Edges, *, nonnegative: bool) -> AnyOperation | None:
    """Return an operation with additional padding, or None if that would compute something else."""
    if isinstance(operation, Conv | StdConv):
        return None if operation.padding == "same" else _padded(operation, operation.padding, edges)
    if not isinstance(operation, MaxPool | AvgPool) or operation.padding == "same" or operation.ceil_mode:
        return None
    if isinstance(operation, MaxPool):
        return _padded(operation, operation.padding, edges) if nonnegative else None
    if any(map(any, operation.padding)) and not operation.count_include_pad:
        return None
    return _padded(operation, operation.padding, edges, count_include_pad=True)


def _padded(
    operation: Conv | StdConv | MaxPool | AvgPool, own: Edges, more: Edges, **fields: bool
) -> AnyOperation | None:
    padding = [[a + b for a, b in zip(*sides, strict=True)] for sides in zip(own, more, strict=True)]
    try:
        return type(operation).model_validate({**operation.model_dump(), **fields, "padding": padding})
    except ValidationError:
        # More than half of a pool's kernel.
        return None


def _is_nonnegative(graph: Graph, pad: Node) -> bool:
    source = pad.inputs[0]
    return source != INPUT and graph.by_name[source].operation.nonnegative
