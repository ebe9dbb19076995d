"""Compares a file with a graph, and finds the file's array for each of the graph's parameters by structure only.

They are compared at the file's own input size, or at several sizes if it accepts any, and in either layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import GraphError
from resnet_spec.graph.folding import fold
from resnet_spec.operations import Category, Multiply
from resnet_spec.operations.fields import as_text
from resnet_spec_onnx.reading.affine_folding import drop_batch_norms
from resnet_spec_onnx.reading.matching import Label, MismatchError, match, with_widths, without_widths
from resnet_spec_onnx.reading.node_view import ANY_BATCH, Layout, channels_first, channels_last
from resnet_spec_onnx.reading.normal_form import form_of_file, form_of_graph, image_input
from resnet_spec_onnx.reading.protobuf import Contents
from resnet_spec_onnx.reading.steps import IncomparableError, NormalForm, Step, Tensor, to_float32

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

FOLDED = (
    "its batch normalizations are folded into the convolutions before them; "
    "set 'folded: true' in the spec (--set folded=true)"
)
NOT_FOLDED = (
    "its batch normalizations are not folded into the convolutions, but the spec has 'folded: true'; "
    "fold them with 'resnet-spec convert --fold' and the spec without it"
)

OTHER_SIZES = (1, 19)
"""Rows and columns to add to the images of a file that accepts any size: every stage sees odd and even sizes."""

NEUTRAL = {"weight": 1, "bias": 0}
"""Scale and offset of a normalization in a file that the spec's normalization does not have."""


@dataclass(frozen=True)
class Comparison:
    """The file's array for each parameter of a graph; the initializers in ``others`` belong to layers beyond it."""

    tensors: Mapping[str, Tensor]
    others: frozenset[str]
    remarks: tuple[str, ...]


def compare(contents: Contents, graph: Graph, names: Mapping[str, str]) -> Comparison:
    """Find a file's arrays for a graph; ``names`` maps initializers to the parameters they are named after, if any.

    Raises MismatchError if the networks differ or more than one array fits a parameter, IncomparableError if one of
    them has an operation without a normal form.
    """
    # First, so that an operation without a form is reported by its name in the spec.
    form_of_graph(graph)
    file, layout = _interpret(contents, graph)
    comparison = _compare(file, layout, _at_size(graph, layout.shape), names)
    for more in OTHER_SIZES if not layout.fixed else ():
        larger = replace(layout, shape=(layout.shape[0], *(size + more for size in layout.shape[1:])))
        try:
            other = _at_size(graph, larger.shape)
        except MismatchError:
            # Not every network accepts every size.
            continue
        _compare(form_of_file(contents, larger), larger, other, names)
    return comparison


def _at_size(graph: Graph, shape: Shape) -> Graph:
    if graph.input.shape[1:] == shape[1:]:
        return graph
    try:
        return graph.at_size(*shape[1:])
    except GraphError as error:
        raise MismatchError(f"its input is {as_text(shape[1:])}, which the spec does not accept: {error}") from None


def _interpret(contents: Contents, graph: Graph) -> tuple[NormalForm, Layout]:
    """Return the file's network in the first layout that it can have; raises the error of the likelier one."""
    failure: IncomparableError | None = None
    for layout in _layouts(contents, graph):
        try:
            return form_of_file(contents, layout), layout
        except IncomparableError as error:
            failure = failure or error
    raise failure or IncomparableError("its input has no supported layout")


def _layouts(contents: Contents, graph: Graph) -> Iterator[Layout]:
    tensor = image_input(contents).type.tensor_type
    own = graph.input.shape
    sizes: list[int] = [max(dimension.dim_value, 0) for dimension in tensor.shape.dim] or [0] * (len(own) + 1)
    if len(sizes) != len(own) + 1:
        raise MismatchError(f"its input has {len(sizes)} axes, but the spec's has {len(own) + 1}")
    alone = any(node.operation.category is Category.LEARNED for node in graph.nodes)
    learned = frozenset(contents.arrays) if alone else frozenset[str]()
    products = [node.operation for node in graph.nodes if isinstance(node.operation, Multiply)]
    factors = frozenset(to_float32(product.factor) for product in products if product.factor != 1)
    rank = len(own) - 1
    orders = [channels_first(rank), channels_last(rank)] if rank else [(0, 1)]
    if rank and sizes[-1] == own[0] != sizes[1]:
        orders.reverse()
    for axes in orders:
        stated = [sizes[axes.index(axis)] for axis in range(1, len(sizes))]
        shape = tuple(size or wanted for size, wanted in zip(stated, own, strict=True))
        yield Layout(sizes[0] or ANY_BATCH, shape, axes, all(stated[1:]), learned, factors)


def _compare(file: NormalForm, layout: Layout, graph: Graph, names: Mapping[str, str]) -> Comparison:
    """Compare at one input size."""
    spec = form_of_graph(graph)
    spec_logits, file_logits = _without_softmax(spec), _without_softmax(file)
    if not file.outputs:
        raise MismatchError("none of its outputs depends on its input")
    indices = _match(graph, spec_logits, file_logits, names)
    pairs = [(step, [file_logits.steps[i] for i in indices[index]]) for index, step in enumerate(spec_logits.steps)]
    tensors: dict[str, Tensor] = {}
    for step, candidates in pairs:
        _assign(step, candidates, tensors)
    used = {i for matches in indices.values() for i in matches}
    others = (t for index, step in enumerate(file_logits.steps) if index not in used for t in step.tensors.values())
    remarks = [*_step_remarks(pairs), *_softmax_remarks(spec, file)]
    if layout.axes[1:2] != (1,):
        remarks.append("takes channels-last images")
    return Comparison(
        {p.name: _reshaped(tensors[p.name], p.shape) for p in graph.parameters()},
        frozenset(name for tensor in others for name in tensor.names),
        tuple(remarks),
    )


def _match(graph: Graph, spec: NormalForm, file: NormalForm, names: Mapping[str, str]) -> dict[int, list[int]]:
    try:
        return match(spec, file, _with_names(with_widths, names))
    except MismatchError:
        pass
    try:
        # The same network with other widths: the caller reports which weights have another shape.
        return match(spec, file, _with_names(without_widths, names))
    except MismatchError as error:
        raise _explained(graph, spec, file, error) from None


def _with_names(label: Label, names: Mapping[str, str]) -> Label:
    """Add to a label the parameters that a step's weights are named after, if names are to be trusted."""
    if not names:
        return label
    parameters = set(names.values())

    def with_names(step: Step) -> Mapping[str, Hashable]:
        own = [names.get(name, name) for tensor in step.tensors.values() for name in tensor.names]
        return {**label(step), "weights": tuple(sorted(parameters.intersection(own)))}

    return with_names


def _explained(graph: Graph, spec: NormalForm, file: NormalForm, error: MismatchError) -> MismatchError:
    """Return the error, or a better one if the only difference is that one side's normalizations are folded."""
    normalized = any(step.kind == "batch_norm" for step in file.steps)
    if (folded := fold(graph)).nodes != graph.nodes:
        try:
            match(_without_softmax(form_of_graph(folded)), file, without_widths)
        except MismatchError as other:
            return error if normalized else MismatchError(f"{FOLDED}; another difference remains: {other}")
        return MismatchError(FOLDED)
    if normalized:
        try:
            match(spec, drop_batch_norms(file), without_widths)
        except MismatchError:
            return error
        return MismatchError(NOT_FOLDED)
    return error


def _assign(step: Step, candidates: Sequence[Step], tensors: dict[str, Tensor]) -> None:
    """Set a step's parameters in ``tensors``; if several steps of the file match it, their arrays must be equal."""
    for slot, parameter in step.tensors.items():
        (name,) = parameter.names
        found = [candidate.tensors.get(slot) or _zero_bias(candidate) for candidate in candidates]
        found += [tensors[name]] if name in tensors else []
        if not all(_equal(found[0].array, other.array) for other in found):
            raise MismatchError(_ambiguous(step, name, candidates))
        tensors[name] = found[0]
    for candidate in candidates:
        for slot in candidate.tensors.keys() - step.tensors.keys():
            if not np.all(candidate.tensors[slot].array == NEUTRAL[slot]):
                raise MismatchError(
                    f"{candidate.source} has a {slot} in the file, but {step.source} has none in the spec"
                )


def _ambiguous(step: Step, name: str, candidates: Sequence[Step]) -> str:
    if len(candidates) > 1:
        found = " or ".join(candidate.source for candidate in candidates)
        return f"{step.source} can be {found}, whose weights differ: neither names nor structure distinguish them"
    return f"{name!r} is shared by layers of the spec, but {candidates[0].source} has different weights in the file"


def _zero_bias(convolution: Step) -> Tensor:
    """Return the bias of a convolution that has none."""
    kernel: Any = convolution.tensors["weight"].array
    axis = 0 if convolution.kind == "convolution" else 1
    return Tensor((), np.zeros(kernel.shape[axis], kernel.dtype))


def _step_remarks(pairs: Iterable[tuple[Step, Sequence[Step]]]) -> Iterator[str]:
    each = [(step, candidate) for step, candidates in pairs for candidate in candidates]
    if folded := sum(candidate.folded for _, candidate in each):
        yield f"has folded normalizations as nodes after {folded} convolutions; they were multiplied into the weights"
    if without := sum("bias" in step.tensors and "bias" not in candidate.tensors for step, candidate in each):
        yield f"has no bias for {without} convolutions that have one in the spec; zeros are used"


def _softmax_remarks(spec: NormalForm, file: NormalForm) -> Iterator[str]:
    if _ends_in_softmax(file) and not _ends_in_softmax(spec):
        yield "ends in a softmax, unlike the spec"
    if _ends_in_softmax(spec) and not _ends_in_softmax(file):
        yield "does not end in a softmax, unlike the spec"


def _ends_in_softmax(network: NormalForm) -> bool:
    return network.steps[network.outputs[-1]].kind == "softmax" if network.outputs else False


def _without_softmax(network: NormalForm) -> NormalForm:
    """Return a network up to its logits: a softmax after them changes no weight."""
    if not _ends_in_softmax(network):
        return network
    (logits,) = network.steps[network.outputs[-1]].inputs
    return network.pruned([*network.outputs[:-1], logits])


def _equal(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def _reshaped(tensor: Tensor, shape: Shape) -> Tensor:
    """Return an array in its parameter's shape, if only axes of size 1 differ."""
    array: Any = tensor.array
    if array.shape != shape and [size for size in array.shape if size != 1] == [size for size in shape if size != 1]:
        array = array.reshape(shape)
    return tensor._replace(array=array)
