"""Does the alarm ring, for a few of the ways to be wrong that docs/mutations.md lists?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.lab.alarm import TABLE, Verdict, line, listening
from tests.lab.mutations import MUTATIONS, Mutation

CHOSEN = (
    "strided 3×3 padded on both sides",
    "normalized over the height instead of the channels",
    "epsilon of a standardized kernel",
    "TensorFlow's crop for PyTorch's",
    "zeros before the pool of a signed map, in PyTorch",
    "a convolution in TF32",
    "two normalizations' statistics exchanged",
    "map flattened channels last",
    "dilation dropped, its padding kept",
    "channels of zeros all before",
    "identity from behind the pre-activation",
    "activation before the normalization",
    "running variance not the one stated",
    "AdamW: weight decay coupled",
    "variance divided by n-1 before a normalization",
    "zeros before a pool behind an activation",
)

Listener = Callable[[Mutation], Verdict]


@pytest.fixture(scope="module")
def listeners() -> Iterator[dict[str, Listener]]:
    # Both beside PyTorch, which starts and runs single nodes faster.
    with listening({"torch": "torch", "tensorflow": "torch"}) as started:
        yield started


@pytest.mark.parametrize("name", CHOSEN)
def test_a_mutation_is_caught_located_and_named(name: str, listeners: dict[str, Listener]) -> None:
    mutation = MUTATIONS[name]
    verdict = listeners[mutation.backend](mutation)

    assert (verdict.caught, verdict.located, verdict.named) == (True, True, True), line(verdict)


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_without_a_mutation_there_is_no_alarm(backend: str, listeners: dict[str, Listener]) -> None:
    unmutated = replace(MUTATIONS["shortcut dropped"], name="", backend=backend, at="", cause="", rows="none")
    verdict = listeners[backend](unmutated)

    assert verdict.report.passed
    assert verdict.report.findings == ()


def test_every_pitfall_that_can_be_heard_has_a_mutation_in_either_framework() -> None:
    assert {mutation.pitfall for mutation in MUTATIONS.values()} == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 18}
    placed = [mutation.backend for mutation in MUTATIONS.values() if mutation.rows != "none"]
    assert min(placed.count("torch"), placed.count("tensorflow")) >= 40


def test_the_document_lists_every_mutation() -> None:
    rows = [row for row in TABLE.read_text().splitlines() if row.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == list(MUTATIONS)
