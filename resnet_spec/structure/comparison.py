"""Compares another network with a graph, and finds its array for each of the graph's parameters by structure only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import GraphError
from resnet_spec.operations.fields import as_text
from resnet_spec.optimization.folding import fold
from resnet_spec.structure.affine_folding import CONVOLUTIONS, drop_batch_norms, with_instance_norms
from resnet_spec.structure.differences import differences
from resnet_spec.structure.forms import form_of_graph
from resnet_spec.structure.matching import AmbiguityError, Label, MismatchError, match, with_widths, without_widths
from resnet_spec.structure.steps import NormalForm, Step, Tensor

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from resnet_spec.backend.source import SourceModel
    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

FOLDED = (
    "its batch normalizations are folded into the convolutions before them; "
    "set 'folded: true' in the spec (overrides=\"folded=true\")"
)
NOT_FOLDED = (
    "its batch normalizations are not folded into the convolutions, but the spec has 'folded: true'; "
    "fold them with 'resnet-spec convert --fold' and the spec without it"
)

NEUTRAL = {"weight": 1, "bias": 0}
"""Scale and offset of a layer that has none, where the other network's layer has one."""


@dataclass(frozen=True)
class Comparison:
    """The other network's array for each parameter of a graph; those named in ``others`` belong to layers beyond it.

    ``pairs`` has whatever has the value of a node in the other network, for each node of the graph where anything has.
    """

    tensors: Mapping[str, Tensor]
    others: frozenset[str]
    remarks: tuple[str, ...]
    pairs: Mapping[str, tuple[Hashable, ...]]


def compare(graph: Graph, other: NormalForm, names: Mapping[str, str], noun: str) -> Comparison:
    """Find the arrays of another network for a graph, at the graph's input size.

    ``names`` maps the other's arrays to the parameters they are named after, if those names are to be trusted.
    Messages call the other network by ``noun``, such as "the file". Raises MismatchError if the networks differ or more
    than one array fits a parameter.
    """
    spec = form_of_graph(graph)
    spec_logits, other_logits = _without_softmax(spec), _without_softmax(other)
    if not other.outputs:
        raise MismatchError("none of its outputs depends on its input")
    spec_logits, other_logits, indices = _matched(graph, spec_logits, other_logits, names, noun)
    pairs = [(step, [other_logits.steps[i] for i in indices[index]]) for index, step in enumerate(spec_logits.steps)]
    tensors: dict[str, Tensor] = {}
    for step, candidates in pairs:
        _assign(step, candidates, tensors, noun)
    used = {i for matches in indices.values() for i in matches}
    rest = (t for index, step in enumerate(other_logits.steps) if index not in used for t in step.tensors.values())
    return Comparison(
        {p.name: _reshaped(tensors[p.name], p.shape) for p in graph.parameters()},
        frozenset(name for tensor in rest for name in tensor.names),
        (*_step_remarks(pairs), *_softmax_remarks(spec, other)),
        dict(_paired_values(spec_logits, other_logits, indices)),
    )


def structural_differences(graph: Graph, other: NormalForm, names: Mapping[str, str], noun: str) -> list[MismatchError]:
    """List how another network differs from a graph at the same input size; see ``compare``."""
    spec, other = _without_softmax(form_of_graph(graph)), _without_softmax(other)
    try:
        _matched(graph, spec, other, names, noun)
    except MismatchError as error:
        found = [*differences(spec, other, _with_names(without_widths, names), noun)]
        # What is folded explains every other difference.
        return found if found and str(found[0]) == str(error) else [error]
    return []


def _paired_values(
    spec: NormalForm, other: NormalForm, indices: Mapping[int, Sequence[int]]
) -> Iterator[tuple[str, tuple[Hashable, ...]]]:
    """Yield the graph's nodes with what has their values in the other network; steps that are alike in their order."""
    taken: Counter[int] = Counter()
    for index, matches in indices.items():
        place = min(taken[matches[0]], len(matches) - 1)
        taken[matches[0]] += 1
        if values := other.steps[matches[place]].values:
            yield from ((str(name), values) for name in spec.steps[index].values)


def compare_with_source(source: SourceModel, graph: Graph, names: Mapping[str, str] | None = None) -> Comparison:
    """Find the arrays of another library's model for a graph, at the model's own input size.

    ``names`` maps its arrays to the parameters they are named after, if those names are to be trusted. Raises
    MismatchError.
    """
    graph = at_input_size(graph, source.graph.input.shape)
    return compare(graph, form_of_graph(source.graph, source.arrays), names or {}, "the model")


def at_input_size(graph: Graph, shape: Shape) -> Graph:
    """Return a graph at the size of another network's input; raises MismatchError if it does not accept that."""
    if graph.input.shape[1:] == shape[1:]:
        return graph
    try:
        return graph.at_size(*shape[1:])
    except GraphError as error:
        raise MismatchError(f"its input is {as_text(shape[1:])}, which the spec does not accept: {error}") from None


def _matched(
    graph: Graph, spec: NormalForm, other: NormalForm, names: Mapping[str, str], noun: str
) -> tuple[NormalForm, NormalForm, dict[int, list[int]]]:
    """Return two networks and which steps of them match, with groups of one channel as instances if that is it."""
    try:
        return spec, other, _match(graph, spec, other, names, noun)
    except MismatchError:
        one, two = with_instance_norms(spec), with_instance_norms(other)
        with suppress(MismatchError):
            return one, two, match(one, two, _with_names(with_widths, names), noun)
        raise


def _match(
    graph: Graph, spec: NormalForm, other: NormalForm, names: Mapping[str, str], noun: str
) -> dict[int, list[int]]:
    try:
        return match(spec, other, _with_names(with_widths, names), noun)
    except MismatchError:
        pass
    try:
        # The same network with other widths: the caller reports which weights have another shape.
        return match(spec, other, _with_names(without_widths, names), noun)
    except MismatchError as error:
        raise _explained(graph, spec, other, error, noun) from None


def _with_names(label: Label, names: Mapping[str, str]) -> Label:
    """Add to a label the parameters that a step's weights are named after, if names are to be trusted."""
    if not names:
        return label
    parameters = set(names.values())

    def with_names(step: Step) -> Mapping[str, Hashable]:
        own = [names.get(name, name) for tensor in step.tensors.values() for name in tensor.names]
        return {**label(step), "weights": tuple(sorted(parameters.intersection(own)))}

    return with_names


def _explained(graph: Graph, spec: NormalForm, other: NormalForm, error: MismatchError, noun: str) -> MismatchError:
    """Return the error, or a better one if the only difference is that one side's normalizations are folded."""
    normalized = any(step.kind == "batch_norm" for step in other.steps)
    if (folded := fold(graph)).nodes != graph.nodes:
        try:
            match(_without_softmax(form_of_graph(folded)), other, without_widths, noun)
        except MismatchError as more:
            return error if normalized else MismatchError(f"{FOLDED}; another difference remains: {more}")
        return MismatchError(FOLDED)
    if normalized:
        try:
            match(spec, drop_batch_norms(other), without_widths, noun)
        except MismatchError:
            return error
        return MismatchError(NOT_FOLDED)
    return error


def _assign(step: Step, candidates: Sequence[Step], tensors: dict[str, Tensor], noun: str) -> None:
    """Set a step's parameters in ``tensors``; if several steps match it, their arrays must be equal."""
    import numpy as np

    for slot, parameter in step.tensors.items():
        (name,) = parameter.names
        found = [candidate.tensors.get(slot) or _neutral(candidate, slot) for candidate in candidates]
        found += [tensors[name]] if name in tensors else []
        if not all(_equal(found[0].array, tensor.array) for tensor in found):
            raise _ambiguous(step, name, candidates, noun)
        tensors[name] = found[0]
    for candidate in candidates:
        for slot in candidate.tensors.keys() - step.tensors.keys():
            if not np.all(candidate.tensors[slot].array == NEUTRAL[slot]):
                message = f"{candidate.source} has a {slot} in {noun}, but {step.source} has none in the spec"
                raise MismatchError(message, step, candidate)


def _ambiguous(step: Step, name: str, candidates: Sequence[Step], noun: str) -> MismatchError:
    if len(candidates) > 1:
        found = " or ".join(candidate.source for candidate in candidates)
        message = f"{step.source} can be {found}, whose weights differ: neither names nor structure distinguish them"
        return AmbiguityError(message, step)
    message = f"{name!r} is shared by layers of the spec, but {candidates[0].source} has different weights in {noun}"
    return MismatchError(message, step, candidates[0])


def _neutral(step: Step, slot: str) -> Tensor:
    """Return the bias of a convolution that has none, or the scale or offset of a normalization."""
    import numpy as np

    axis = step.fields.get("axis")
    dtypes = [tensor.array.dtype for tensor in step.tensors.values() if tensor.array is not None]
    size = step.shape[axis if isinstance(axis, int) else 0]
    return Tensor((), np.full(size, NEUTRAL[slot], dtypes[0] if dtypes else np.float32))


def _step_remarks(pairs: Iterable[tuple[Step, Sequence[Step]]]) -> Iterator[str]:
    each = [(step, candidate) for step, candidates in pairs for candidate in candidates]
    if folded := sum(candidate.folded for _, candidate in each):
        yield f"has folded normalizations as nodes after {folded} convolutions; they were multiplied into the weights"
    without = [
        (slot, step.kind in CONVOLUTIONS)
        for step, candidate in each
        for slot in ("bias", "weight")
        if slot in step.tensors and slot not in candidate.tensors
    ]
    for (slot, convolution), count in Counter(without).items():
        what = "bias" if convolution else {"bias": "offset", "weight": "scale"}[slot]
        layers = "convolutions" if convolution else "normalizations"
        neutral = {"bias": "zeros", "weight": "ones"}[slot]
        yield f"has no {what} for {count} {layers} that have one in the spec; {neutral} are used"


def _softmax_remarks(spec: NormalForm, other: NormalForm) -> Iterator[str]:
    if _ends_in_softmax(other) and not _ends_in_softmax(spec):
        yield "ends in a softmax, unlike the spec"
    if _ends_in_softmax(spec) and not _ends_in_softmax(other):
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
    import numpy as np

    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def _reshaped(tensor: Tensor, shape: Shape) -> Tensor:
    """Return an array in its parameter's shape, if only axes of size 1 differ."""
    array: Any = tensor.array
    if array.shape != shape and [size for size in array.shape if size != 1] == [size for size in shape if size != 1]:
        array = array.reshape(shape)
    return tensor._replace(array=array)
