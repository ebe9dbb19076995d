"""Lists the differences of two networks: after each, the networks are made alike there and compared again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from resnet_spec.structure.matching import Label, MismatchError, match, unmatched
from resnet_spec.structure.steps import NormalForm, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 8
"""The most differences that are listed: networks that differ in more are other networks."""


def differences(spec: NormalForm, other: NormalForm, label: Label, noun: str) -> Iterator[MismatchError]:
    """Yield the differences of two networks in the spec's order; messages call the other network by ``noun``.

    Ends at the first that changes a map's size, since all that follows differs then, and at one that no single step
    explains.
    """
    for _ in range(MOST):
        try:
            match(spec, other, label, noun)
        except MismatchError as error:
            yield error
            repaired = _repaired(spec, other, error, label)
            if repaired is None:
                return
            spec, other = repaired
        else:
            return


def _repaired(
    spec: NormalForm, other: NormalForm, error: MismatchError, label: Label
) -> tuple[NormalForm, NormalForm] | None:
    """Return the networks without a difference: of the ways to remove it the one after which most steps match."""
    if error.step is None:
        return None
    if error.found is not None and spec.steps[error.step].shape[1:] != other.steps[error.found].shape[1:]:
        return None
    found = [] if error.found is None else [*_with_step(spec, other, error.step, error.found)]
    found += [(spec, without) for without in _without(other, error.found)]
    found += [(without, other) for without in _without(spec, error.step)]
    before = unmatched(spec, other, label)
    best = min(found, key=lambda pair: unmatched(*pair, label), default=None)
    return best if best is not None and unmatched(*best, label) < before else None


def _with_step(spec: NormalForm, other: NormalForm, step: int, found: int) -> Iterator[tuple[NormalForm, NormalForm]]:
    """Yield the networks with the spec's step in place of the other's, if it fits there."""
    wanted, own = spec.steps[step], other.steps[found]
    if len(wanted.inputs) == len(own.inputs) and wanted.shape == own.shape:
        steps = [*other.steps]
        steps[found] = replace(own, kind=wanted.kind, fields=wanted.fields, shape=wanted.shape)
        yield spec, _of(steps, other.outputs, other)


def _without(network: NormalForm, index: int | None) -> Iterator[NormalForm]:
    """Yield the network without a step, if that leaves all others as they are."""
    if not index:
        return
    step = network.steps[index]
    reads = {network.steps[read].shape for read in step.inputs}
    if len(step.inputs) != 1 or reads != {step.shape}:
        return
    (before,) = step.inputs
    steps: list[Step] = [
        replace(reader, inputs=tuple(before if read == index else read for read in reader.inputs))
        for reader in network.steps
    ]
    yield _of(steps, [before if output == index else output for output in network.outputs], network)


def _of(steps: list[Step], outputs: Sequence[int], like: NormalForm) -> NormalForm:
    network = NormalForm(like.steps[0].shape)
    network.steps = steps
    return network.pruned(outputs)
