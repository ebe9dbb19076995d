"""Group normalizations as one node or three, and normalizations whose parameters do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from resnet_spec.optimization.folding import fold
from tests.resnet_spec_onnx.reading.files import VECTORS, anonymous, assert_equal, made, node, proto, read, refused
from tests.resnet_spec_torch.graphs import Builder, random_arrays


def test_a_group_normalization_is_one_node_or_three(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("norm", "group_norm", groups=2, epsilon=1e-3).graph()
    scale, offset = VECTORS[:2]
    one = [node("GroupNormalization", "x scale offset", "y", num_groups=2, epsilon=1e-3)]
    arrays = {"scale": scale, "offset": offset}
    wanted = {"norm.weight": scale, "norm.bias": offset}
    assert_equal(read(made(one, arrays, (1, 4, 8, 8), opset=21), graph, tmp_path), wanted)
    three = [
        node("Reshape", "x groups", "g"),
        node("InstanceNormalization", "g ones zeros", "i", epsilon=1e-3),
        node("Reshape", "i shape", "r"),
        node("Mul", "r scale", "m"),
        node("Add", "m offset", "y"),
    ]
    arrays = {"scale": scale.reshape(4, 1, 1), "offset": offset.reshape(4, 1, 1)}
    arrays |= {"ones": np.ones(2, np.float32), "zeros": np.zeros(2, np.float32)}
    arrays |= {"groups": np.array([0, 2, -1]), "shape": np.array([1, 4, 8, 8])}
    assert_equal(read(made(three, arrays, (1, 4, 8, 8)), graph, tmp_path), wanted)
    three[1] = node("InstanceNormalization", "g ones zeros", "i", epsilon=1e-4)
    message = refused(made(three, arrays, (1, 4, 8, 8)), graph, tmp_path)
    assert message.endswith("differ in epsilon: 0.001 and 0.0001")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("BatchNormalization", "x a a a b", "y")], "has no parameters for 4 channels"),
        ([node("BatchNormalization", "x a a a a", "y", spatial=0)], "has an unsupported value of 'spatial'"),
        ([node("GroupNormalization", "x b b", "y", num_groups=2)], "has no scale and offset for each of 4 channels"),
        (
            [node("Reshape", "x groups", "g"), node("InstanceNormalization", "g a a", "y")],
            "has no scale and offset for each of 2 channels",
        ),
    ],
)
def test_unsupported_normalizations_are_reported(nodes: list[NodeProto], message: str, tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("norm", "batch_norm").graph()
    arrays = {"a": np.ones(4, np.float32), "b": np.ones(2, np.float32), "groups": np.array([0, 2, -1])}
    assert message in refused(made(nodes, arrays, (1, 4, 8, 8)), graph, tmp_path)


def projection() -> Builder:
    """A linear layer, the normalization of its features, and an activation."""
    return Builder(6).add("fc", "linear", features=4).add("bn", "batch_norm", epsilon=1e-3).add("relu", "relu")


def test_the_normalization_of_a_vector_is_read_whatever_its_names(tmp_path: Path) -> None:
    graph = projection().graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)
    other = Builder(6).add("fc", "linear", features=4).add("bn", "batch_norm", epsilon=1e-5).add("relu", "relu")
    message = refused(anonymous(proto(graph, arrays)), other.graph(), tmp_path)
    assert message.endswith("differ in epsilon: 1e-05 and 0.001")


def test_the_normalization_of_a_vector_that_an_exporter_folded_is_read_as_folded(tmp_path: Path) -> None:
    graph = fold(projection().graph())
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)
    unfolded = refused(anonymous(proto(graph, arrays)), projection().graph(), tmp_path)
    assert "folded" in unfolded


@pytest.mark.parametrize("op", ["layer_norm", "instance_norm"])
@pytest.mark.parametrize("flags", [{}, {"scale": False}, {"offset": False}, {"scale": False, "offset": False}])
def test_normalizations_of_each_image_are_found_by_structure(op: str, flags: dict[str, bool], tmp_path: Path) -> None:
    b = Builder(3, 6, 7).add("conv", "conv2d", channels=4, kernel=3).add("x", op, epsilon=1e-3, **flags)
    graph = b.add("rows", "reshape", shape=(4, 20)).add("y", op, epsilon=1e-5, **flags).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


@pytest.mark.parametrize("fields", [{"axis": 1}, {"epsilon": 1e-5}])
def test_another_axis_or_epsilon_is_another_network(fields: dict[str, Any], tmp_path: Path) -> None:
    first, second = (
        Builder(4, 4, 4).add("x", "layer_norm", **{"epsilon": 1e-3, **more}).graph() for more in ({}, fields)
    )
    assert next(iter(fields)) in refused(anonymous(proto(second)), first, tmp_path)
