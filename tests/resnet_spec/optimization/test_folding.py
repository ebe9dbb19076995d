"""Folding changes what layers there are and not what they compute; the torch backend is the witness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from resnet_spec import initialize, load
from resnet_spec.backend.registry import get_backend
from resnet_spec.graph import Graph
from resnet_spec.optimization.folding import fold, fold_arrays
from resnet_spec.weights.matching import check_weights
from tests.resnet_spec_torch.graphs import Builder, random_arrays
from tests.shipped import slow_unless

NETWORKS = {
    "resnet18": ["input.height=64", "input.width=64", "parameters.classes=10"],
    "timm/seresnet50": ["input.height=64", "input.width=64", "parameters.classes=10"],
    "keras/resnet50": ["input.height=64", "input.width=64", "parameters.classes=10"],
    "slim/resnet_v2_50": ["input.height=64", "input.width=64", "parameters.classes=10"],
    "tutorial/resnet18": ["input.height=64", "input.width=64"],
}


def graph_of(name: str, *more: str) -> Graph:
    return load(name, [*NETWORKS[name], *more]).to_graph()


def drawn(graph: Graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {
        name: array * generator.uniform(0.5, 1.5, array.shape) + generator.uniform(0.0, 0.1, array.shape)
        for name, array in initialize(graph, 0).items()
    }


def computed(graph: Graph, arrays: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """A network's output in the torch backend, in float64."""
    backend = get_backend("torch")
    model = backend.compile(graph, dtype="float64")
    backend.load(model, graph, check_weights(graph, arrays, "folded"))
    return backend.forward(model, images)[0]


@pytest.mark.parametrize("name", slow_unless({"resnet18"}, list(NETWORKS)))
def test_a_folded_network_computes_the_same(name: str) -> None:
    graph = graph_of(name)
    arrays = drawn(graph)
    images = np.random.default_rng(1).standard_normal((2, 3, 64, 64))
    plain, folded = computed(graph, arrays, images), computed(fold(graph), fold_arrays(graph, arrays), images)
    assert np.abs(plain - folded).max() < 1e-9 * plain.std()


@pytest.mark.parametrize("bias", [True, False])
def test_a_normalization_of_a_vector_is_folded_into_the_linear_layer(bias: bool) -> None:
    b = Builder(6).add("fc", "linear", features=4, bias=bias).add("bn", "batch_norm").add("relu", "relu")
    graph = b.add("bn2", "batch_norm", offset=False).graph()
    arrays = random_arrays(graph, dtype="float64")
    vector = np.random.default_rng(0).standard_normal((3, 6))
    plain, folded = (
        computed(network, weights, vector)
        for network, weights in ((graph, arrays), (fold(graph), fold_arrays(graph, arrays)))
    )
    # Nothing precedes the second that it could be folded into.
    assert [node.name for node in fold(graph).nodes] == ["fc", "relu", "bn2"]
    np.testing.assert_allclose(folded, plain, rtol=1e-12)


def test_the_key_of_a_spec_gives_the_same_graph() -> None:
    assert graph_of("resnet18", "folded=true").fingerprint == fold(graph_of("resnet18")).fingerprint


def test_every_normalization_after_a_convolution_is_gone_and_no_other() -> None:
    plain, after, before = (
        [node.name for node in graph_of(name, "folded=true").nodes if node.operation.op == "batch_norm"]
        for name in ("resnet18", "tutorial/resnet18", "slim/resnet_v2_50")
    )
    assert plain == []
    # One layer that is called twice cannot be folded into both.
    assert [name for name in after if "layer" in name or "stage" in name or "block" in name]
    # A pre-activation follows a sum.
    assert [name.rpartition(".")[2] for name in before if name != "postnorm"] == ["preact"] * 16


def test_taps_and_blocks_are_the_convolutions_then() -> None:
    graph = graph_of("resnet18", "folded=true", "outputs=[bn1, layer1.0.bn1]")
    assert graph.outputs == ("conv1", "layer1.0.conv1")


def test_a_convolution_whose_own_value_is_wanted_stays() -> None:
    graph = graph_of("resnet18", "folded=true", "outputs=[conv1, layer4]")
    assert [node.name for node in graph.nodes if node.operation.op == "batch_norm"] == ["bn1"]


def test_what_is_stated_of_the_network_is_stated_of_the_whole_one() -> None:
    assert load("resnet50", ["folded=true"]).to_graph().by_name["conv1"].operation.model_dump()["bias"] is True


def test_a_linear_layer_over_the_last_axis_is_not_folded() -> None:
    # Its features are not the channels that the normalization after it has.
    data = {
        "name": "test/rows",
        "input": {"channels": 4, "height": 3, "width": 5},
        "nodes": [
            {"name": "fc", "operation": {"op": "linear", "features": 4}, "inputs": ["input"], "shape": [4, 3, 4]},
            {
                "name": "bn",
                "operation": {"op": "batch_norm", "epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"},
                "inputs": ["fc"],
                "shape": [4, 3, 4],
            },
        ],
        "outputs": ["bn"],
    }
    graph = Graph.model_validate(data)
    assert fold(graph).nodes == graph.nodes
