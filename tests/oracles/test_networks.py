"""The shipped networks compared with their originals: some on each run, all of them by their records."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import resnet_spec
from resnet_spec.operations import OPERATIONS, Category
from tests.backend_pool import shared_backends

from .gates import ILL_CONDITIONED
from .part import PART, candidates, chosen, thinner, touched
from .table import LONGER, PATH, longer, render, worst
from .verification import Backends, is_current, recorded, verify


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with shared_backends(), Backends() as running:
        yield running


@pytest.mark.parametrize("name", PART)
def test_the_network_computes_what_its_original_computes(name: str, backends: Backends) -> None:
    assert verify(name, backends, thinner(name), again=True).spec == name


def test_the_part_touches_every_operation_in_use_and_every_family() -> None:
    graphs = candidates()
    everything = frozenset().union(*(touched(name, graph) for name, graph in graphs.items()))
    assert chosen(graphs) == PART
    assert frozenset().union(*(touched(name, graphs[name]) for name in PART)) == everything
    assert OPERATIONS.keys() - {word for word in everything if " " not in word} <= ELSEWHERE


ADDED = {name for name, kind in OPERATIONS.items() if kind.category in (Category.ACTIVATION, Category.LEARNED)}
JOINS = {
    "matmul",
    "transpose",
    "slice",
    "concat",
    "subtract",
    "maximum",
    "resize",
    "gem_pool",
    "l2_normalize",
    "mean",
    "max",
    "sum",
}
RANKED = {f"{kind}{rank}d" for kind in ("conv", "conv_transpose", "max_pool", "avg_pool", "pad") for rank in (1, 3)}
ELSEWHERE = {"stochastic_depth", "global_max_pool", "softmax", "layer_norm", "instance_norm", *ADDED, *JOINS, *RANKED}
"""Operations that users add to a shipped network, or that only families with tests of their own have."""


@pytest.mark.parametrize("name", resnet_spec.available())
def test_the_record_is_of_the_spec_as_it_is_and_within_the_gates(name: str) -> None:
    assert is_current(name), "run make oracles, then make networks"
    record = recorded(name)
    assert record is not None
    assert bool(record.bounds) == (name in ILL_CONDITIONED)
    assert all(error < record.gates[dtype] for dtype, error in worst(record).items())  # type: ignore[index]


def test_every_longer_spec_is_listed_with_a_reason() -> None:
    assert list(LONGER) == longer()


def test_the_table_is_what_specs_and_records_say() -> None:
    assert PATH.read_text("utf-8") == render(), "run make networks"
