"""Guesses which unexpected name is meant by a missing one: by name and shape, and only where nothing else is likely.

A script made from wrong guesses loads a silently wrong network, so that a doubtful one is not made.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape

MAX_PAIRS = 50_000
"""The most pairs of names that are compared; more would take seconds."""

FEW_PAIRS = 1_000
"""The most pairs of names of which every part is compared."""

LIKELY = 0.5
"""The least similarity at which a name is guessed."""

_PARTS = re.compile(r"[0-9]+|[^0-9._/:]+")


def likely_renames(missing: Mapping[str, Shape], unexpected: Mapping[str, Shape]) -> dict[str, str]:
    """For missing names the unexpected ones that are likely meant, each used once.

    A pair has equal shapes, and each of the two is the other's single best by name. If names differ in more than one
    layer, all that are alike but for their numbers must be paired, since a numbering that starts elsewhere is not a
    spelling mistake.
    """
    # Among many names, a last part that both sides have (weight, bias) is not a misspelled one.
    many = len(missing) * len(unexpected) > FEW_PAIRS
    words = {_last(name) for name in missing} & {_last(name) for name in unexpected} if many else set[str]()
    groups: defaultdict[tuple[Shape, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for index, names in enumerate((missing, unexpected)):
        for name, shape in names.items():
            groups[shape, _last(name) if _last(name) in words else ""][index].append(name)
    pairs: dict[str, str] = {}
    budget = MAX_PAIRS
    for ours, theirs in groups.values():
        budget -= len(ours) * len(theirs)
        if budget >= 0:
            pairs |= _mutually_best(ours, theirs)
    return _complete(pairs, missing, unexpected) if pairs else {}


def _mutually_best(ours: Collection[str], theirs: Collection[str]) -> dict[str, str]:
    likeness = {(one, other): _likeness(_parts(one), _parts(other)) for one in ours for other in theirs}
    best = _single_best((one, other, ratio) for (one, other), ratio in likeness.items())
    back = _single_best((other, one, ratio) for (one, other), ratio in likeness.items())
    return {one: other for one, other in best.items() if back.get(other) == one}


def _single_best(likeness: Iterable[tuple[str, str, float]]) -> dict[str, str]:
    """The best of each, unless another one is as good."""
    best: dict[str, tuple[float, str | None]] = {}
    for one, other, ratio in likeness:
        highest, _ = best.get(one, (LIKELY, None))
        if ratio > highest:
            best[one] = ratio, other
        elif ratio == highest:
            best[one] = ratio, None
    return {one: other for one, (_, other) in best.items() if other}


def _complete(pairs: Mapping[str, str], ours: Collection[str], theirs: Collection[str]) -> dict[str, str]:
    """The pairs of those names whose like, but for numbers, are all paired with each other; or of a single name."""
    partners: defaultdict[str, set[str | None]] = defaultdict(set)
    back = {other: one for one, other in pairs.items()}
    for names, found in ((ours, pairs), (theirs, back)):
        for name in names:
            other = found.get(name)
            partners[_skeleton(name)].add(_skeleton(other) if other else None)
    alike = Counter(map(_skeleton, theirs))
    return {
        one: other
        for one, other in pairs.items()
        if partners[_skeleton(other)] == {_skeleton(one)}
        and (partners[_skeleton(one)] == {_skeleton(other)} or alike[_skeleton(other)] == 1)
        # Names that differ in numbers only are counted differently.
        and _skeleton(one) != _skeleton(other)
    }


def _last(name: str) -> str:
    return name[max(name.rfind("."), name.rfind("/")) + 1 :]


@lru_cache(maxsize=2**14)
def _parts(name: str) -> tuple[str, ...]:
    return tuple(_PARTS.findall(name))


def _skeleton(name: str) -> str:
    return re.sub(r"[0-9]+", "#", name)


def _likeness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """One less the share of parts that must change for one name to become the other."""
    costs = [float(column) for column in range(len(other) + 1)]
    for row, part in enumerate(one, 1):
        diagonal, costs[0] = costs[0], row
        for column, counterpart in enumerate(other, 1):
            replaced = diagonal + _difference(part, counterpart)
            diagonal = costs[column]
            costs[column] = min(replaced, costs[column] + 1, costs[column - 1] + 1)
    return round(1 - costs[-1] / max(len(one), len(other), 1), 9)


@lru_cache(maxsize=2**14)
def _difference(part: str, other: str) -> float:
    if part == other:
        return 0
    if part.isdigit() or other.isdigit():
        return 1
    return 1 - SequenceMatcher(None, part, other).ratio()
