"""A network run node by node: what is kept of it meanwhile, and what rounding is let do to it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.rounding import UNIT
from resnet_spec.walking import Values, walk_jittered

FEATURES, CLASSES = 64, 3


def network(*nodes: tuple[str, dict[str, Any], tuple[str, ...], int]) -> Graph:
    """A graph of vectors: name, operation, inputs and features of each node."""
    made = [
        {"name": name, "operation": operation, "inputs": inputs, "shape": (features,)}
        for name, operation, inputs, features in nodes
    ]
    return Graph.model_validate(
        {"name": "test", "input": {"features": FEATURES}, "nodes": made, "outputs": (nodes[-1][0],)}
    )


SUMMING = network(
    ("relu", {"op": "relu"}, (INPUT,), FEATURES),
    ("first", {"op": "linear", "features": CLASSES, "bias": False}, ("relu",), CLASSES),
    ("second", {"op": "linear", "features": CLASSES, "bias": False}, ("relu",), CLASSES),
    ("twice", {"op": "add"}, ("first", "first"), CLASSES),
    ("sum", {"op": "add"}, ("twice", "second"), CLASSES),
)
CHOOSING = network(("relu", {"op": "relu"}, (INPUT,), FEATURES), ("again", {"op": "relu"}, ("relu",), FEATURES))


class Small:
    """A backend for these networks; a model is the kernel that all linear layers have."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def apply(self, model: NDArray[Any], graph: Graph, name: str, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        self.asked.append(name)
        match graph.by_name[name].operation.op:
            case "relu":
                return inputs[0].clip(0)
            case "linear":
                return inputs[0] @ model
            case _:
                return inputs[0] + inputs[1]


def walked(graph: Graph, images: NDArray[Any], seed: int = 0, kernel: Any = None) -> NDArray[Any]:
    kernel = np.ones((FEATURES, CLASSES)) if kernel is None else kernel
    return walk_jittered(Small(), kernel, graph, images, np.random.default_rng(seed))  # type: ignore[arg-type]


# -- what is kept ------------------------------------------------------------------------------------------------


class Value:
    """Stands for an array, of which one can see when it is gone."""


def alive(references: dict[str, weakref.ref[Value]]) -> set[str]:
    return {name for name, reference in references.items() if reference() is not None}


def test_a_value_is_dropped_after_its_last_use() -> None:
    given = Value()
    references = {INPUT: weakref.ref(given)}
    values = Values(SUMMING, given)  # type: ignore[arg-type]
    del given
    held: list[set[str]] = []
    for node in SUMMING.nodes:
        taken = values.take(node)
        assert [reference() for reference in (references[name] for name in node.inputs)] == taken
        del taken
        made = Value()
        references[node.name] = weakref.ref(made)
        values.put(node.name, made)  # type: ignore[arg-type]
        del made
        held.append(alive(references))

    assert held == [{"relu"}, {"relu", "first"}, {"first", "second"}, {"twice", "second"}, set()]


def test_a_value_that_is_taken_twice_by_one_node_is_given_twice() -> None:
    values = Values(SUMMING, np.zeros(1))
    node = Node.model_validate(SUMMING.by_name["twice"].model_dump())
    values.put("first", np.ones(1))

    assert len(values.take(node)) == 2
    with pytest.raises(KeyError):
        values.take(node)


# -- what rounding may do ----------------------------------------------------------------------------------------


def test_a_network_that_only_chooses_is_not_moved() -> None:
    images = np.random.default_rng(1).standard_normal((5, FEATURES))

    np.testing.assert_array_equal(walked(CHOOSING, images), images.clip(0))


def test_every_node_is_run_once_in_order() -> None:
    backend = Small()

    walk_jittered(backend, np.ones((FEATURES, CLASSES)), SUMMING, np.ones((1, FEATURES)), np.random.default_rng(0))  # type: ignore[arg-type]

    assert backend.asked == [node.name for node in SUMMING.nodes]


def test_a_sum_is_moved_as_its_terms_are() -> None:
    """Of k terms x, each moved by √k·u, and a result that is rounded once more."""
    terms = np.random.default_rng(1).uniform(0.5, 1.5, FEATURES)
    graph = network(("fc", {"op": "linear", "features": CLASSES, "bias": False}, (INPUT,), CLASSES))

    moved = walked(graph, np.tile(terms, (20_000, 1))) - terms.sum()

    wanted = UNIT["float32"] * (FEATURES * np.square(terms).sum() + terms.sum() ** 2) ** 0.5
    assert moved.std(axis=0)[0] == pytest.approx(wanted, rel=0.03)
    # One layer's outputs have the same disturbed inputs, and each a rounding of its own.
    assert not np.array_equal(moved[:, 0], moved[:, 1])


def test_more_terms_and_more_layers_are_moved_further() -> None:
    images = np.ones((20_000, FEATURES))
    graph = network(("fc", {"op": "linear", "features": CLASSES, "bias": False}, (INPUT,), CLASSES))

    one = walked(graph, images).std(axis=0)[0]
    many = walked(SUMMING, images).std(axis=0)[0]

    assert many > 1.5 * one > 0


def test_a_seed_gives_the_same_again() -> None:
    images = np.ones((2, FEATURES))

    np.testing.assert_array_equal(walked(SUMMING, images, seed=3), walked(SUMMING, images, seed=3))
    assert not np.array_equal(walked(SUMMING, images, seed=3), walked(SUMMING, images, seed=4))
