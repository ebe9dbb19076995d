"""How far rounding may move a node's value is taken from enough values, also where the node has few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec.graph import Graph, Input, Node
from resnet_spec.operations import GlobalAvgPool
from resnet_spec.parity.walk import Walk


class Counting:
    """Computes a mean, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def apply(self, model: Any, graph: Graph, name: str, inputs: Any) -> Any:
        self.calls += 1
        return inputs[0].mean((2, 3), keepdims=True)


@pytest.mark.parametrize(("channels", "draws"), [(2, 8), (64, 4), (256, 1)])
def test_a_node_of_few_values_is_perturbed_several_times(channels: int, draws: int) -> None:
    node = Node(name="pool", operation=GlobalAvgPool(op="global_avg_pool"), inputs=("input",), shape=(channels, 1, 1))
    graph = Graph(name="mean", input=Input(channels=channels, height=3, width=3), nodes=(node,), outputs=("pool",))
    images = np.random.default_rng(0).standard_normal((1, channels, 3, 3))
    backend = Counting()
    models: Any = {"float64": None}
    walk = Walk(backend, models, graph, images, np.random.default_rng(0), leading=True)  # type: ignore[arg-type]
    found = walk.step()
    assert backend.calls == 1 + draws
    # A mean of nine, each moved by three roundings or so, and rounded.
    assert 2.0**-25 < found["rounding_error"] < 2.0**-20
