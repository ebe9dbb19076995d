"""Holds a file to a graph: at the file's own input size, or at several where it takes any, and in either layout.

What then stands in the file for each of the graph's parameters is found by structure, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import GraphError
from resnet_spec.graph.folding import fold
from resnet_spec.operations.fields import as_text
from resnet_spec_onnx.reading.absorbing import absorbed, without_norms
from resnet_spec_onnx.reading.contents import Contents
from resnet_spec_onnx.reading.matching import Label, MismatchError, matched, with_widths, without_widths
from resnet_spec_onnx.reading.network import Network, Step, Tensor
from resnet_spec_onnx.reading.node_view import BATCH, CHANNELS_FIRST, CHANNELS_LAST, Layout
from resnet_spec_onnx.reading.normal_form import IncomparableError, expected
from resnet_spec_onnx.reading.simplifying import image_input, simplified

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

FOLDED = (
    "its batch normalizations are folded into the convolutions before them; "
    "a spec with 'folded: true' (--set folded=true) has them so"
)
NOT_FOLDED = (
    "its batch normalizations are not folded into the convolutions, as the spec says they are; "
    "'resnet-spec convert --fold' with the spec that has them folds them"
)

OTHER_SIZES = (1, 19)
"""Rows and columns by which images are larger, too, where a file takes any: odd and even ones at every stage."""

NEUTRAL = {"weight": 1, "bias": 0}
"""Scale and offset that a normalization has in a file where it has none in a spec."""


@dataclass(frozen=True)
class Found:
    """What a file has for each parameter of a graph; the initializers of ``others`` belong to layers beyond it."""

    tensors: Mapping[str, Tensor]
    others: frozenset[str]
    remarks: tuple[str, ...]


def compare(contents: Contents, graph: Graph, names: Mapping[str, str]) -> Found:
    """Find a file's weights for a graph; ``names`` are the parameters that initializers say they are, if they do.

    Raises MismatchError where the networks differ or the weights could be loaded in two ways, IncomparableError where
    one of them holds what has no form to compare.
    """
    # What the spec has and files do not is told in the spec's words.
    expected(graph)
    file, layout = _understood(contents, graph)
    found = _found(file, layout, _at(graph, layout.shape), names)
    for more in OTHER_SIZES if not layout.fixed else ():
        larger = replace(layout, shape=(layout.shape[0], *(size + more for size in layout.shape[1:])))
        try:
            other = _at(graph, larger.shape)
        except MismatchError:
            # Not every network takes every size.
            continue
        _found(_without_constants(contents, larger), larger, other, names)
    return found


def _at(graph: Graph, shape: Shape) -> Graph:
    if graph.input.shape[1:] == shape[1:]:
        return graph
    try:
        return graph.at_size(*shape[1:])
    except GraphError as error:
        raise MismatchError(f"it is for images of {as_text(shape[1:])}, and the spec is not: {error}") from None


def _understood(contents: Contents, graph: Graph) -> tuple[Network, Layout]:
    """The file's network with channels first or last, whichever it can be; raises the likelier one's error."""
    failure: IncomparableError | None = None
    for layout in _layouts(contents, graph):
        try:
            return _without_constants(contents, layout), layout
        except IncomparableError as error:
            failure = failure or error
    raise failure or IncomparableError("its input has no layout that is read")


def _without_constants(contents: Contents, layout: Layout) -> Network:
    return absorbed(simplified(contents, layout))


def _layouts(contents: Contents, graph: Graph) -> Iterator[Layout]:
    tensor = image_input(contents).type.tensor_type
    own = graph.input.shape
    sizes: list[int] = [max(dimension.dim_value, 0) for dimension in tensor.shape.dim] or [0] * (len(own) + 1)
    if len(sizes) != len(own) + 1:
        raise MismatchError(f"its input has {len(sizes)} axes, and the spec's {len(own) + 1}")
    orders = [CHANNELS_FIRST, CHANNELS_LAST] if len(own) == 3 else [(0, 1)]
    if len(own) == 3 and sizes[3] == own[0] != sizes[1]:
        orders.reverse()
    for axes in orders:
        held = [sizes[axes.index(axis)] for axis in range(1, len(sizes))]
        shape = tuple(size or wanted for size, wanted in zip(held, own, strict=True))
        yield Layout(sizes[0] or BATCH, shape, axes, fixed=all(held[1:]))


def _found(file: Network, layout: Layout, graph: Graph, names: Mapping[str, str]) -> Found:
    """What a file's network has for a graph's parameters, both at one input size."""
    spec = expected(graph)
    bare, file_bare = _without_softmax(spec), _without_softmax(file)
    if not file.outputs:
        raise MismatchError("none of its outputs depends on its input")
    places = _matched(graph, bare, file_bare, names)
    pairs = [(step, [file_bare.steps[place] for place in places[number]]) for number, step in enumerate(bare.steps)]
    tensors: dict[str, Tensor] = {}
    for step, candidates in pairs:
        _assign(step, candidates, tensors)
    used = {place for numbers in places.values() for place in numbers}
    others = (t for number, step in enumerate(file_bare.steps) if number not in used for t in step.tensors.values())
    remarks = [*_remarks_of_steps(pairs), *_remarks_of_ends(spec, file)]
    if layout.axes == CHANNELS_LAST:
        remarks.append("takes images with their channels last")
    return Found(
        {p.name: _laid_out(tensors[p.name], p.shape) for p in graph.parameters()},
        frozenset(name for tensor in others for name in tensor.names),
        tuple(remarks),
    )


def _matched(graph: Graph, spec: Network, file: Network, names: Mapping[str, str]) -> dict[int, list[int]]:
    try:
        return matched(spec, file, _named(with_widths, names))
    except MismatchError:
        pass
    try:
        # Of the same network with other widths, the caller says which weights have another shape.
        return matched(spec, file, _named(without_widths, names))
    except MismatchError as error:
        raise _explained(graph, spec, file, error) from None


def _named(label: Label, names: Mapping[str, str]) -> Label:
    """With the parameters that a step's weights are called after, where names are to be trusted."""
    if not names:
        return label
    parameters = set(names.values())

    def named(step: Step) -> Mapping[str, Hashable]:
        held = [names.get(name, name) for tensor in step.tensors.values() for name in tensor.names]
        return {**label(step), "weights": tuple(sorted(parameters.intersection(held)))}

    return named


def _explained(graph: Graph, spec: Network, file: Network, error: MismatchError) -> MismatchError:
    """The difference, or that it is nothing but folded normalizations on one side."""
    normalized = any(step.kind == "batch_norm" for step in file.steps)
    if (folded := fold(graph)).nodes != graph.nodes:
        try:
            matched(_without_softmax(expected(folded)), file, without_widths)
        except MismatchError as other:
            return error if normalized else MismatchError(f"{FOLDED}; but even so, {other}")
        return MismatchError(FOLDED)
    if normalized:
        try:
            matched(spec, without_norms(file), without_widths)
        except MismatchError:
            return error
        return MismatchError(NOT_FOLDED)
    return error


def _assign(step: Step, candidates: Sequence[Step], tensors: dict[str, Tensor]) -> None:
    """Give a step's parameters what stands in its place; where several steps may, theirs must be equal."""
    for slot, parameter in step.tensors.items():
        (name,) = parameter.names
        held = [candidate.tensors.get(slot) or _no_bias(candidate) for candidate in candidates]
        held += [tensors[name]] if name in tensors else []
        if not all(_equal(held[0].array, other.array) for other in held):
            raise MismatchError(_ambiguous(step, name, candidates))
        tensors[name] = held[0]
    for candidate in candidates:
        for slot in candidate.tensors.keys() - step.tensors.keys():
            if not np.all(candidate.tensors[slot].array == NEUTRAL[slot]):
                raise MismatchError(f"{candidate.source} has a {slot} in the file, and {step.source} none in the spec")


def _ambiguous(step: Step, name: str, candidates: Sequence[Step]) -> str:
    if len(candidates) > 1:
        found = " or ".join(candidate.source for candidate in candidates)
        return f"{step.source} may be {found}, which have other weights, and nothing tells which it is"
    return f"{name!r} is used more than once in the spec, and {candidates[0].source} has other weights in the file"


def _no_bias(convolution: Step) -> Tensor:
    """The bias of a convolution that has none."""
    kernel: Any = convolution.tensors["weight"].array
    axis = 0 if convolution.kind == "convolution" else 1
    return Tensor((), np.zeros(kernel.shape[axis], kernel.dtype))


def _remarks_of_steps(pairs: Iterable[tuple[Step, Sequence[Step]]]) -> Iterator[str]:
    each = [(step, candidate) for step, candidates in pairs for candidate in candidates]
    if multiplied := sum(candidate.multiplied for _, candidate in each):
        yield (
            f"constants behind {multiplied} convolutions, folded normalizations written out, "
            "were multiplied into their weights"
        )
    if bare := sum("bias" in step.tensors and "bias" not in candidate.tensors for step, candidate in each):
        yield f"{bare} convolutions that have a bias in the spec have none in the file; theirs are zeros"


def _remarks_of_ends(spec: Network, file: Network) -> Iterator[str]:
    ours, theirs = _ends_in_softmax(spec), _ends_in_softmax(file)
    if ours != theirs:
        yield "ends in a softmax, which the spec lacks" if theirs else "lacks the softmax in which the spec ends"


def _ends_in_softmax(network: Network) -> bool:
    return network.steps[network.outputs[-1]].kind == "softmax" if network.outputs else False


def _without_softmax(network: Network) -> Network:
    """A network up to its logits: whether a softmax follows changes no weight."""
    if not _ends_in_softmax(network):
        return network
    (logits,) = network.steps[network.outputs[-1]].inputs
    return network.pruned([*network.outputs[:-1], logits])


def _equal(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def _laid_out(tensor: Tensor, shape: Shape) -> Tensor:
    """A weight in its parameter's shape, where axes of size 1 are all that differs."""
    array: Any = tensor.array
    if array.shape != shape and [size for size in array.shape if size != 1] == [size for size in shape if size != 1]:
        array = array.reshape(shape)
    return tensor._replace(array=array)
