"""Mutated models: what ``parity --against`` says of them, recorded, and of some again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.mutated_models import RESULTS, Outcome, comparing_models
from tests.lab.mutations import MUTATIONS, Mutation

NEAR = {
    "explicit pad one row and column short": "a pad is part of the convolution that reads it",
    "a convolution's inputs in bfloat16": "a cast has the value of the node before it, which is reported",
    "a convolution's inputs in float16": "a cast has the value of the node before it, which is reported",
    "dropout in inference": "dropout is nothing in inference: the layer that reads it is reported",
    "map flattened channels last": "the order is in the kernel of the linear layer",
    "query: bias left out": "a linear layer of a row is reported where its product is read",
    "activation before the addition too": "the addition reads something else, in the place of the normalization",
    "stochastic depth's factor in inference": "stochastic depth is nothing in inference: the addition reads a factor",
    "dropout's factor in inference": "dropout is nothing in inference: the layer that reads it reads a factor",
    "stochastic depth's divisor in inference": "stochastic depth is nothing in inference: the addition reads a factor",
    "varied.yaml, rows: columns first": "steps that only move numbers are one step, of the layer that reads them",
    "varied.yaml, turned: transposed": "steps that only move numbers are one step, of the layer that reads them",
    "varied.yaml, maps: channels last": "steps that only move numbers are one step, of the layer that reads them",
    "a node jumped over": "the node that is left out is named, and not its reader",
    "branches averaged": "the activation after the addition reads a mean",
}
"""Mutations that are reported at the neighbor of their node, and why."""

UNSEEN = {
    "softmax left in the head, in PyTorch": "the logits before it are compared; a note says that the model has one",
    "float32 within a float64 model, in PyTorch": "a model is run in float32",
    "float32 within a float64 model, in TensorFlow": "a model is run in float32",
}
"""Mutations that are not reported, and why."""


@pytest.fixture(scope="module")
def compare() -> Iterator[Callable[[Mutation], Outcome]]:
    with comparing_models() as started:
        yield started


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("strided 3×3 padded as same, in PyTorch", "structure"),
        ("one epsilon of keras.applications", "structure"),
        ("two normalizations' statistics swapped", "parameters"),
        ("strided 3×3 padded on both sides", "structure"),
    ],
)
def test_a_mutated_model_is_reported_at_its_node(name: str, how: str, compare: Callable[[Mutation], Outcome]) -> None:
    outcome = compare(MUTATIONS[name])
    assert (outcome.how, outcome.node) == (how, MUTATIONS[name].at)


def test_every_recorded_mutation_of_a_readable_model_is_reported_at_its_node() -> None:
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    wrong = {
        name: found
        for name, found in results.items()
        if MUTATIONS[name].expected in ("inference", "float32", "bisection")
        # A model that cannot be read is an error that names the operation which the language lacks.
        and found["reported by"] not in ("unreadable", "error")
        and not (found["reported by"] and found["node"] == found["at"])
        and name not in NEAR.keys() | UNSEEN.keys()
    }
    assert wrong == {}


def test_exceptions_are_ones() -> None:
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    assert all(results[name]["reported by"] and results[name]["node"] != results[name]["at"] for name in NEAR)
    assert all(results[name]["reported by"] in ("", "note") for name in UNSEEN)
