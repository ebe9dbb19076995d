"""Whether two networks are one, and which step of the one is which of the other: by structure, never by guess.

What a step is follows from all that it reads, down to the input, and from all that reads it. Steps that are alike in
both cannot be told apart, and are refused unless their weights are equal too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from resnet_spec_onnx.reading.network import AFFINE, JOINS, Network, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

Label: TypeAlias = "Callable[[Step], Mapping[str, Hashable]]"
"""What of a step must be equal on both sides, by words for it."""


class MismatchError(Exception):
    """Two networks differ; says where first, in words."""


def with_widths(step: Step) -> dict[str, Hashable]:
    """All that a step computes."""
    return {"": step.kind, **step.fields, "shape": step.shape}


def without_widths(step: Step) -> dict[str, Hashable]:
    """What a step computes, whatever its number of channels, which its weights tell too."""
    fields = {name: value for name, value in step.fields.items() if name != "to"}
    return {"": step.kind, **fields, "positions": None if step.kind == "reshape" else step.shape[1:]}


def matched(spec: Network, file: Network, label: Label) -> dict[int, list[int]]:
    """For each step of the spec's network the file's that it may be: one, or some that structure cannot tell apart.

    The file may go on where the spec's ends. Raises MismatchError.
    """
    labels = [[_frozen(label(step)) for step in network.steps] for network in (spec, file)]
    known: dict[Hashable, int] = {}
    below, theirs = (_upwards(network, own, known) for network, own in zip((spec, file), labels, strict=True))
    if not set(below) <= set(theirs):
        raise MismatchError(_first_difference(spec, file, below, theirs, label))
    ends = [_end(file, theirs, below[number]) for number in spec.outputs]
    part = file.pruned(ends)
    place = _places(file, ends)
    colors, others = _refined((spec, part), (below, [theirs[number] for number in place]))
    if Counter(colors) != Counter(others):
        raise MismatchError(_shared_otherwise(spec, part, colors, others))
    classes: dict[int, list[int]] = defaultdict(list)
    for number, color in enumerate(others):
        classes[color].append(place[number])
    return {number: classes[color] for number, color in enumerate(colors)}


def _frozen(fields: Mapping[str, Hashable]) -> Hashable:
    return tuple(sorted((name, repr(value)) for name, value in fields.items()))


def _places(network: Network, ends: Sequence[int]) -> list[int]:
    """The numbers that the steps of the part for some ends have in the whole."""
    needed = {0, *ends}
    for number in reversed(range(len(network.steps))):
        if number in needed:
            needed.update(network.steps[number].inputs)
    return sorted(needed)


def _upwards(network: Network, labels: Sequence[Hashable], known: dict[Hashable, int]) -> list[int]:
    """A number for what each step is and reads, the same for the same in all networks that share ``known``."""
    numbers: list[int] = []
    for step, label in zip(network.steps, labels, strict=True):
        key = label, tuple(sorted(numbers[read] for read in step.inputs))
        numbers.append(known.setdefault(key, len(known)))
    return numbers


def _downwards(network: Network, labels: Sequence[int], known: dict[Hashable, int]) -> list[int]:
    """A number for what each step is and what reads it, and which output it is."""
    readers = network.consumers()
    numbers = [0] * len(network.steps)
    for number in reversed(range(len(numbers))):
        place = tuple(index for index, output in enumerate(network.outputs) if output == number)
        key = labels[number], place, tuple(sorted(numbers[reader] for reader in readers[number]))
        numbers[number] = known.setdefault(key, len(known))
    return numbers


def _refined(networks: Sequence[Network], colors: Sequence[list[int]]) -> Sequence[list[int]]:
    """Numbers that take in what reads a step, too, again and again until none is told apart any more."""
    while True:
        classes = len(set(colors[0]))
        for walk in (_downwards, _upwards):
            known: dict[Hashable, int] = {}
            colors = [walk(network, own, known) for network, own in zip(networks, colors, strict=True)]
        if len(set(colors[0])) == classes:
            return colors


def _end(file: Network, numbers: Sequence[int], wanted: int) -> int:
    """Where the file has an output of the spec's: at one of its own outputs, rather than on the way to one."""
    places = [number for number, held in enumerate(numbers) if held == wanted]
    return next((number for number in places if number in file.outputs), places[0])


# ---------------------------------------------------------------------------------------------------------------
# Words for what differs


def _first_difference(spec: Network, file: Network, ours: Sequence[int], theirs: Sequence[int], label: Label) -> str:
    """The first step of the spec's that the file lacks, beside the file's that stands in its place."""
    present = set(theirs)
    step = next(step for step, number in zip(spec.steps, ours, strict=True) if number not in present)
    read = sorted(ours[number] for number in step.inputs)
    more = Counter(theirs) - Counter(ours)
    candidates = [
        other
        for other, number in zip(file.steps, theirs, strict=True)
        if number in more and sorted(theirs[i] for i in other.inputs) == read
    ]
    if not candidates:
        return _without_candidate(step, spec, file, ours, theirs)
    wanted = label(step)
    other = max(candidates, key=lambda other: _likeness(wanted, label(other)))
    found = label(other)
    if wanted[""] != found[""]:
        return f"the spec has {step.source} where the file has {other.source}" + _hint(other)
    field = next(name for name, value in wanted.items() if found.get(name) != value)
    return (
        f"{step.source} in the spec and {other.source} in the file differ in {field.replace('_', ' ')}: "
        f"{said(wanted[field])} and {said(found.get(field))}"
    )


def _without_candidate(step: Step, spec: Network, file: Network, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """A step for which nothing in the file reads the same: it reads something else there, or is not there at all."""
    read = [spec.steps[number].source for number in step.inputs]
    if step.kind in JOINS:
        some = {ours[number] for number in step.inputs}
        for other in file.steps:
            held = [theirs[number] for number in other.inputs]
            if other.kind == step.kind and some.intersection(held):
                sources = [file.steps[number].source for number in other.inputs]
                return (
                    f"{step.source} joins {' and '.join(read)} in the spec, "
                    f"and {other.source} joins {' and '.join(sources)} in the file"
                )
    return f"the spec has {step.source} after {' and '.join(read)}, where the file has nothing more"


def _hint(step: Step) -> str:
    if step.kind in AFFINE and step.inputs == (0,):
        return ": it normalizes its input itself, and the spec does not"
    if step.kind in AFFINE:
        return ", a constant for each channel: of a normalization that is written so, the statistics cannot be told"
    return ""


def _shared_otherwise(spec: Network, file: Network, ours: Iterable[int], theirs: Iterable[int]) -> str:
    left = Counter(theirs)
    for step, color in zip(spec.steps, ours, strict=True):
        left[color] -= 1
        if left[color] < 0:
            return f"{step.source} and what reads it are connected otherwise in the file"
    return "the file's layers are connected otherwise"


def _likeness(wanted: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> int:
    same = sum(found.get(name) == value for name, value in wanted.items())
    return same + 100 * (wanted[""] == found[""])


def said(value: Hashable) -> str:
    """A field's value as messages show it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(said, cast('tuple[Hashable, ...]', value)))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
