"""Mutation tests: some of the mutations in docs/mutations.md are detected, located and explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.loader import load
from tests.lab.detection import RESULTS, SPECS, TABLE, Verdict, comparing_mutations, line
from tests.lab.mutations import MUTATIONS, Mutation

CHOSEN = (
    "strided 3×3 padded on both sides",
    "normalized over the height instead of the channels",
    "epsilon of a standardized kernel",
    "epsilon of a normalization of vectors",
    "TensorFlow's crop for PyTorch's",
    "zeros before the pool of a signed map, in PyTorch",
    "a convolution in TF32",
    "two normalizations' statistics swapped",
    "map flattened channels last",
    "dilation dropped, its padding kept",
    "channels of zeros all before",
    "identity from after the pre-activation",
    "activation before the normalization",
    "running variance not the one stated",
    "AdamW: weight decay coupled",
    "variance divided by n-1 before a normalization",
    "zeros before a pool after an activation",
)

Compare = Callable[[Mutation], Verdict]


@pytest.fixture(scope="module")
def comparers() -> Iterator[dict[str, Compare]]:
    # PyTorch is the reference of both, since it starts and runs single nodes faster.
    with comparing_mutations({"torch": "torch", "tensorflow": "torch"}) as started:
        yield started


@pytest.mark.parametrize("name", CHOSEN)
def test_a_mutation_is_detected_located_and_explained(name: str, comparers: dict[str, Compare]) -> None:
    mutation = MUTATIONS[name]
    verdict = comparers[mutation.backend](mutation)

    assert (verdict.detected, verdict.located, verdict.explained) == (True, True, True), line(verdict)


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_without_a_mutation_the_backends_agree(backend: str, comparers: dict[str, Compare]) -> None:
    unmutated = replace(MUTATIONS["shortcut dropped"], name="", backend=backend, at="", cause="", expected="none")
    verdict = comparers[backend](unmutated)

    assert verdict.report.passed
    assert verdict.report.findings == ()


def test_every_detectable_pitfall_has_a_mutation_in_either_framework() -> None:
    assert {mutation.pitfall for mutation in MUTATIONS.values()} == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 18}
    located = [mutation.backend for mutation in MUTATIONS.values() if mutation.expected != "none"]
    assert min(located.count("torch"), located.count("tensorflow")) >= 40


def test_every_operation_has_two_mutations_that_are_located() -> None:
    graphs = {name: load(SPECS / f"{name}.yaml").to_graph() for name in {m.spec for m in MUTATIONS.values()}}
    located = [graphs[m.spec].by_name[m.at].operation.op for m in MUTATIONS.values() if m.at and m.cause]
    assert [name for name in OPERATIONS if located.count(name) < 2] == []


def test_every_mutation_is_detected_located_and_explained_as_stated() -> None:
    results = json.loads(RESULTS.read_text())
    assert results.keys() == MUTATIONS.keys()
    assert [n for n, r in results.items() if not (r["detected"] and r["located"] and r["explained"])] == []


def test_the_document_lists_every_mutation() -> None:
    rows = [row for row in TABLE.read_text().splitlines() if row.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == list(MUTATIONS)
