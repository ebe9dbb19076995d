"""Weights for comparisons: nothing fades, explodes or hides a mistake, whatever a network normalizes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph
from resnet_spec.operations import Role
from resnet_spec.parity.randomization import (
    CALIBRATION_BATCH,
    DAMPING,
    LEAST_VARIANCE,
    POSITION_BATCH,
    calibrating,
    last_normalizations,
    randomize,
)

Lower = Callable[..., Graph]

NORM = "{epsilon: 1e-5, momentum: 0.1, running_variance: biased}"

RESIDUAL = """
    input: {channels: 4, height: 8, width: 8}
    blocks:
      b:
        main:
          conv: {conv2d: {channels: 4, kernel: 3, padding: 1}}
          first: NORM
          drop: {dropout: {rate: 0.5}}
          last: NORM
          depth: {stochastic_depth: {rate: 0.25}}
        shortcut: {}
    stages: {s: {block: b}}
"""


class Trainer:
    """A training step that is no network: every variance becomes 4, every mean 1."""

    def __init__(self) -> None:
        self.calls: list[tuple[Graph, tuple[int, ...]]] = []

    def __call__(self, graph: Graph, arrays: Mapping[str, Any], images: Any) -> Mapping[str, Any]:
        self.calls.append((graph, images.shape))
        moved = {"running_var": 4.0, "running_mean": 1.0}
        return {
            name: np.full_like(array, moved[last]) if (last := name.rpartition(".")[2]) in moved else array
            for name, array in arrays.items()
        }


def residual(lower: Lower, norm: str) -> Graph:
    return lower(RESIDUAL.replace("NORM", norm))


@pytest.mark.parametrize(
    "norm",
    [
        "{group_norm: {groups: 2, epsilon: 1.0e-5}}",
        "{evo_norm_s0: {groups: 2, epsilon: 1.0e-5}}",
        "{filter_response_norm: {epsilon: 1.0e-5, threshold: true}}",
    ],
)
def test_a_network_that_keeps_no_statistics_is_not_trained(lower: Lower, norm: str) -> None:
    trainer = Trainer()
    arrays = randomize(residual(lower, norm), trainer)

    assert not trainer.calls
    assert all(array.dtype == np.float32 for array in arrays.values())


@pytest.mark.parametrize(
    ("norm", "batch", "seen"),
    [
        (f"{{batch_norm: {NORM}}}", CALIBRATION_BATCH, 4),
        (f"{{position_batch_norm: {NORM}}}", POSITION_BATCH, 4 * max(1, LEAST_VARIANCE)),
    ],
)
def test_statistics_are_near_those_of_one_batch(lower: Lower, norm: str, batch: int, seen: float) -> None:
    trainer = Trainer()
    arrays = randomize(residual(lower, norm), trainer)

    ((graph, shape),) = trainer.calls
    assert shape == (batch, 4, 8, 8)
    assert [node.operation.momentum for node in graph.nodes if node.name.endswith(("first", "last"))] == [1, 1]
    variance, mean = arrays["s.0.first.running_var"], arrays["s.0.first.running_mean"]
    assert seen * 0.8 <= variance.min() < variance.max() <= seen * 1.25
    assert 1 - 0.1 * seen**0.5 <= mean.min() < mean.max() <= 1 + 0.1 * seen**0.5


def test_a_position_that_never_varies_is_not_divided_by_next_to_nothing(lower: Lower) -> None:
    def train(graph: Graph, arrays: Mapping[str, Any], images: Any) -> Mapping[str, Any]:
        after = dict(Trainer()(graph, arrays, images))
        after["s.0.first.running_var"][:, 0] = 0
        return after

    variance = randomize(residual(lower, f"{{position_batch_norm: {NORM}}}"), train)["s.0.first.running_var"]

    least = LEAST_VARIANCE * 4 * 7 / 8
    assert least * 0.8 <= variance[:, 0].min() < variance[:, 0].max() <= least * 1.25
    assert variance[:, 1:].min() >= 0.8 * max(4, least)


def test_nothing_is_dropped_while_statistics_are_found(lower: Lower) -> None:
    graph = residual(lower, f"{{batch_norm: {NORM}}}")
    rates = {node.name: node.operation.rate for node in calibrating(graph).nodes if hasattr(node.operation, "rate")}

    assert rates == {"s.0.drop": 0, "s.0.depth": 0}
    assert graph.by_name["s.0.drop"].operation.rate == 0.5
    assert calibrating(graph).parameters() == graph.parameters()


@pytest.mark.parametrize(
    ("norm", "ranges"),
    [
        (f"{{batch_norm: {NORM}}}", {Role.NORM_SCALE: (0.5, 1.5), Role.NORM_OFFSET: (-0.5, 0.5)}),
        (f"{{position_batch_norm: {NORM}}}", {Role.POSITION_SCALE: (0.5, 1.5), Role.POSITION_OFFSET: (-0.5, 0.5)}),
        ("{group_norm: {groups: 2, epsilon: 1.0e-5}}", {Role.NORM_SCALE: (0.5, 1.5), Role.NORM_OFFSET: (-0.5, 0.5)}),
        ("{filter_response_norm: {epsilon: 1.0e-5, threshold: true}}", {Role.NORM_THRESHOLD: (-0.5, 0.5)}),
    ],
)
def test_the_last_normalization_of_a_branch_is_damped_whichever_it_is(
    lower: Lower, norm: str, ranges: dict[Role, tuple[float, float]]
) -> None:
    graph = residual(lower, norm)
    arrays = randomize(graph, Trainer())

    assert last_normalizations(graph) == {"s.0.last"}
    for parameter in graph.parameters():
        if parameter.role in ranges:
            low, high = (end * (DAMPING if parameter.node == "s.0.last" else 1) for end in ranges[parameter.role])
            values = arrays[parameter.name]
            assert low <= values.min() < values.max() <= high


def test_what_multiplies_inside_a_gate_is_not_damped(lower: Lower) -> None:
    arrays = randomize(residual(lower, "{evo_norm_s0: {groups: 2, epsilon: 1.0e-5}}"), Trainer())

    for name in ("first", "last"):
        assert 0.5 <= arrays[f"s.0.{name}.v"].min() < arrays[f"s.0.{name}.v"].max() <= 1.5


def test_a_scale_before_a_limit_is_large_enough_to_reach_it(lower: Lower) -> None:
    graph = lower(f"""
        input: {{channels: 3, height: 8, width: 8}}
        layers: {{norm: {{batch_norm: {NORM}}}}}
        stem: {{wide: norm, limit: relu6, narrow: norm, act: relu}}
    """)
    arrays = randomize(graph, Trainer())

    assert 4 * 0.5 <= arrays["wide.weight"].min() < arrays["wide.weight"].max() <= 4 * 1.5
    assert arrays["narrow.weight"].max() <= 1.5


def test_a_network_of_vectors_is_initialized_too(lower: Lower) -> None:
    text = f"""
        input: {{features: 6}}
        stem: {{map: {{reshape: {{shape: [6, 1, 1]}}}}, bn: {{batch_norm: {NORM}}}}}
        """
    trainer = Trainer()
    randomize(lower(text), trainer)

    assert trainer.calls[0][1] == (CALIBRATION_BATCH, 6)


def test_statistics_of_vectors_come_from_a_larger_batch(lower: Lower) -> None:
    trainer = Trainer()
    randomize(lower(f"input: {{features: 6}}\nstem: {{bn: {{batch_norm: {NORM}}}}}\n"), trainer)

    assert trainer.calls[0][1] == (POSITION_BATCH, 6)
