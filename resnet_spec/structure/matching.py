"""Matches the steps of two networks by structure only, or says where the networks first differ.

A step is identified by everything it depends on, down to the input, and by everything that depends on it. Steps that
are alike in both respects cannot be distinguished, and are accepted only if their weights are equal, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from resnet_spec.structure.steps import AFFINE, JOINS, ORDERED, NormalForm, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

Label: TypeAlias = "Callable[[Step], Mapping[str, Hashable]]"
"""What must be equal in two steps, by the words for it in messages."""


class MismatchError(Exception):
    """Two networks differ; the message says where first.

    ``node`` and ``counterpart`` are the names of the layers of the spec and of the other network that differ, as far as
    they are known, and ``step`` and ``found`` the indices of their steps in the networks that were matched.
    """

    def __init__(self, message: str, *layers: Step) -> None:
        super().__init__(message)
        self.node, self.counterpart = [*(layer.name for layer in layers), "", ""][:2]
        self.step: int | None = None
        self.found: int | None = None

    def at(self, step: int, found: int | None = None) -> MismatchError:
        """Note which steps differ."""
        self.step, self.found = step, found
        return self


class AmbiguityError(MismatchError):
    """Networks may be the same, but it is unclear which weights are which."""


def with_widths(step: Step) -> dict[str, Hashable]:
    """Label a step by everything it computes."""
    return {"": step.kind, **step.fields, "shape": step.shape}


def without_widths(step: Step) -> dict[str, Hashable]:
    """Label a step regardless of its number of channels, which its weights show too."""
    fields = {name: value for name, value in step.fields.items() if name != "to"}
    return {"": step.kind, **fields, "positions": None if step.kind == "reshape" else step.shape[1:]}


def match(spec: NormalForm, other: NormalForm, label: Label, noun: str) -> dict[int, list[int]]:
    """Return for each step of the spec's network the matching steps of the other: one, or some that are alike.

    The other network, which messages call by ``noun``, may continue where the spec ends. Raises MismatchError.
    """
    ours, theirs = _both_by_inputs(spec, other, label)
    if not set(ours) <= set(theirs):
        raise _first_difference(spec, other, ours, theirs, label, noun)
    ends = [_end(other, theirs, ours[index]) for index in spec.outputs]
    part, kept = other.pruned(ends), other.required(ends)
    spec_colors, other_colors = _refined((spec, part), (ours, [theirs[index] for index in kept]))
    if Counter(spec_colors) != Counter(other_colors):
        raise _different_sharing(spec, spec_colors, other_colors, noun)
    classes: dict[int, list[int]] = defaultdict(list)
    for index, color in zip(kept, other_colors, strict=True):
        classes[color].append(index)
    return {index: classes[color] for index, color in enumerate(spec_colors)}


def unmatched(spec: NormalForm, other: NormalForm, label: Label) -> int:
    """Return how many steps of either network depend on something that the other does not compute."""
    ours, theirs = _both_by_inputs(spec, other, label)
    return len({*ours} ^ {*theirs})


def _both_by_inputs(spec: NormalForm, other: NormalForm, label: Label) -> tuple[list[int], list[int]]:
    known: dict[Hashable, int] = {}
    ours, theirs = (
        _colors_by_inputs(network, [_frozen(label(step)) for step in network.steps], known) for network in (spec, other)
    )
    return ours, theirs


def _frozen(fields: Mapping[str, Hashable]) -> Hashable:
    return tuple(sorted((name, repr(value)) for name, value in fields.items()))


def _colors_by_inputs(network: NormalForm, labels: Sequence[Hashable], known: dict[Hashable, int]) -> list[int]:
    """Number steps by their label and what they read; networks that share ``known`` share the numbers."""
    colors: list[int] = []
    for step, label in zip(network.steps, labels, strict=True):
        read = [colors[index] for index in step.inputs]
        key = label, tuple(read if step.kind in ORDERED else sorted(read))
        colors.append(known.setdefault(key, len(known)))
    return colors


def _colors_by_consumers(network: NormalForm, labels: Sequence[int], known: dict[Hashable, int]) -> list[int]:
    """Number steps by their label, by what reads them as which input, and by which outputs they are."""
    consumers = network.consumers()
    colors = [0] * len(network.steps)
    for index in reversed(range(len(colors))):
        outputs = tuple(position for position, output in enumerate(network.outputs) if output == index)
        readers = [(colors[reader], _positions(network.steps[reader], index)) for reader in consumers[index]]
        key = labels[index], outputs, tuple(sorted(readers))
        colors[index] = known.setdefault(key, len(known))
    return colors


def _positions(reader: Step, index: int) -> tuple[int, ...]:
    """Return which inputs of a step a value is, if that matters."""
    if reader.kind not in ORDERED:
        return ()
    return tuple(position for position, read in enumerate(reader.inputs) if read == index)


def _refined(networks: Sequence[NormalForm], colors: Sequence[list[int]]) -> Sequence[list[int]]:
    """Color refinement: number steps by consumers and by inputs in turn until no more steps are distinguished."""
    while True:
        classes = len(set(colors[0]))
        for refine in (_colors_by_consumers, _colors_by_inputs):
            known: dict[Hashable, int] = {}
            colors = [refine(network, own, known) for network, own in zip(networks, colors, strict=True)]
        if len(set(colors[0])) == classes:
            return colors


def _end(other: NormalForm, colors: Sequence[int], wanted: int) -> int:
    """Return the other network's step for an output of the spec: preferably one of its own outputs."""
    found = [index for index, color in enumerate(colors) if color == wanted]
    return next((index for index in found if index in other.outputs), found[0])


# ---------------------------------------------------------------------------------------------------------------
# Messages


def _first_difference(
    spec: NormalForm, other: NormalForm, ours: Sequence[int], theirs: Sequence[int], label: Label, noun: str
) -> MismatchError:
    """Describe the first step of the spec that the other network does not have, and its step in that place."""
    present = set(theirs)
    place = next(index for index, color in enumerate(ours) if color not in present)
    step = spec.steps[place]
    read = sorted(ours[index] for index in step.inputs)
    more = Counter(theirs) - Counter(ours)
    candidates = [
        index
        for index, (found, color) in enumerate(zip(other.steps, theirs, strict=True))
        if color in more and sorted(theirs[index] for index in found.inputs) == read
    ]
    if not candidates:
        return MismatchError(_without_candidate(step, spec, other, ours, theirs, noun), step).at(place)
    wanted = label(step)
    nearest = max(candidates, key=lambda candidate: _similarity(wanted, label(other.steps[candidate])))
    found = other.steps[nearest]
    fields = label(found)
    if wanted[""] != fields[""]:
        message = f"the spec has {step.source} where {noun} has {found.source}" + _hint(step, found)
        return MismatchError(message, step, found).at(place, nearest)
    field = next((name for name, value in wanted.items() if fields.get(name) != value), None)
    if field is None:
        sources = " and ".join(spec.steps[index].source for index in step.inputs)
        message = f"{step.source} takes {sources} in this order in the spec, but {found.source} takes them in another"
        return MismatchError(message, step, found).at(place, nearest)
    message = (
        f"{step.source} in the spec and {found.source} in {noun} differ in {field.replace('_', ' ')}: "
        f"{_as_text(wanted[field])} and {_as_text(fields.get(field))}"
    )
    return MismatchError(message, step, found).at(place, nearest)


def _without_candidate(
    step: Step, spec: NormalForm, other: NormalForm, ours: Sequence[int], theirs: Sequence[int], noun: str
) -> str:
    """Describe a step for which no step of the other network reads the same: it reads something else, or is missing."""
    read = [spec.steps[index].source for index in step.inputs]
    if step.kind in JOINS:
        some = {ours[index] for index in step.inputs}
        for found in other.steps:
            if found.kind == step.kind and some.intersection(theirs[index] for index in found.inputs):
                sources = [other.steps[index].source for index in found.inputs]
                return (
                    f"{step.source} joins {' and '.join(read)} in the spec, "
                    f"but {found.source} joins {' and '.join(sources)} in {noun}"
                )
    return f"the spec has {step.source} after {' and '.join(read)}, where {noun} ends"


def _hint(wanted: Step, step: Step) -> str:
    if wanted.kind == "factor" and step.kind == "scale":
        return f", a product with another constant than {wanted.fields['value']:g}"
    if step.kind in (*AFFINE, "learned_scale", "learned_offset", "factor") and step.inputs == (0,):
        return ": it normalizes its input itself, but the spec does not"
    if step.kind in AFFINE:
        return ", one constant per channel: a normalization written so no longer has its statistics"
    return ""


def _different_sharing(spec: NormalForm, ours: Iterable[int], theirs: Iterable[int], noun: str) -> MismatchError:
    remaining = Counter(theirs)
    for index, color in enumerate(ours):
        remaining[color] -= 1
        if remaining[color] < 0:
            step = spec.steps[index]
            message = f"{step.source} and the layers that read it are connected differently in {noun}"
            return MismatchError(message, step).at(index)
    return MismatchError(f"the layers of {noun} are connected differently")


def _similarity(wanted: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> int:
    same = sum(found.get(name) == value for name, value in wanted.items())
    return same + 100 * (wanted[""] == found[""])


def _as_text(value: Hashable) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_text, cast('tuple[Hashable, ...]', value)))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
