"""Networks that differ, by the first difference, and branches that are alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import (
    anonymous,
    assert_equal,
    node_of,
    proto,
    read,
    refused,
    set_attribute,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet


def _set(name: str, attribute: str, value: Any) -> Callable[[ModelProto], None]:
    return lambda model: set_attribute(node_of(model, name), attribute, value)


def _move_stride(model: ModelProto) -> None:
    set_attribute(node_of(model, "layer2.0.conv1"), "strides", [2, 2])
    set_attribute(node_of(model, "layer2.0.conv2"), "strides", [1, 1])


def _other_shortcut(model: ModelProto) -> None:
    """Connect the second block's shortcut before the first block's activation."""
    node_of(model, "layer1.1.add").input[1] = "layer1.0.add"


def _without_relu(model: ModelProto) -> None:
    node_of(model, "layer1.1.relu2").op_type = "Identity"


MUTATIONS: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "stride": (
        _move_stride,
        "'layer2.0.conv1' (conv2d) in the spec and 'layer2.0.conv1' (Conv) in the file differ in stride: "
        "[1, 1] and [2, 2]",
    ),
    "pads": (
        _set("conv1", "pads", [2, 2, 3, 3]),
        "'conv1' (conv2d) in the spec and 'conv1' (Conv) in the file differ in effective padding: "
        "[[3, 2], [3, 2]] and [[2, 3], [2, 3]]",
    ),
    "dilation": (
        lambda model: (
            _set("layer1.1.conv2", "dilations", [2, 2])(model),
            _set("layer1.1.conv2", "pads", [2, 2, 2, 2])(model),
        )[0],
        "'layer1.1.conv2' (conv2d) in the spec and 'layer1.1.conv2' (Conv) in the file differ in effective padding: "
        "[[1, 1], [1, 1]] and [[2, 2], [2, 2]]",
    ),
    "epsilon": (
        _set("layer2.0.bn2", "epsilon", 1.001e-5),
        "'layer2.0.bn2' (batch_norm) in the spec and 'layer2.0.bn2' (BatchNormalization) in the file differ in "
        "epsilon: 1e-05 and 1.001e-05",
    ),
    "pool": (
        _set("maxpool", "kernel_shape", [2, 2]),
        "'maxpool' (max_pool2d) in the spec and 'maxpool' (MaxPool) in the file differ in kernel: [3, 3] and [2, 2]",
    ),
    "operation": (
        _without_relu,
        "the spec has 'layer1.1.relu2' (relu) where the file has 'layer1.1.conv3' (Conv)",
    ),
    "shortcut": (
        _other_shortcut,
        "'layer1.1.add' (add) joins 'layer1.1.bn3' (batch_norm) and 'layer1.0.relu3' (relu) in the spec, but "
        "'layer1.1.add' (Add) joins 'layer1.1.bn3' (BatchNormalization) and 'layer1.0.add' (Add) in the file",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_another_architecture_is_refused_by_its_first_difference(name: str, tmp_path: Path) -> None:
    graph = small_resnet()
    model = anonymous(proto(graph))
    mutate, message = MUTATIONS[name]
    mutate(model)
    assert refused(model, graph, tmp_path).startswith(message)


@pytest.mark.parametrize("name", MUTATIONS)
def test_where_all_names_fit_another_architecture_is_reported(name: str, tmp_path: Path) -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    model = proto(graph, arrays)
    mutate, message = MUTATIONS[name]
    mutate(model)
    checkpoint = read(model, graph, tmp_path)

    assert_equal(checkpoint, arrays)
    assert checkpoint.doubt.startswith(f"is for another architecture than {graph.name}: {message}")


def branches(**second: Any) -> Graph:
    """Two convolutions of equal shape that read the same value."""
    fields: dict[str, Any] = {"channels": 4, "kernel": 3, "padding": 1}
    b = Builder(4, 8, 8).add("before", "relu").add("one", "conv2d", **fields)
    b.add("two", "conv2d", "before", **fields | second)
    b.add("middle", "relu", "one")
    return b.add("sum", "add", "middle", "two").graph()


def test_branches_are_distinguished_by_their_consumers(tmp_path: Path) -> None:
    graph = branches()
    arrays = random_arrays(graph)
    model = anonymous(proto(graph, arrays))
    node_of(model, "sum").input[:] = ["two", "middle"]
    assert_equal(read(model, graph, tmp_path), arrays)


def test_branches_are_distinguished_by_a_later_second_use(tmp_path: Path) -> None:
    """Both read the same and are added; one of them is an output, too."""
    b = Builder(4, 8, 8).add("before", "relu")
    for name in ("one", "two"):
        b.add(name, "conv2d", "before", channels=4, kernel=3, padding=1)
    b.add("sum", "add", "one", "two").add("end", "multiply", "sum", "two")
    graph = b.graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


def test_indistinguishable_branches_are_refused(tmp_path: Path) -> None:
    b = Builder(4, 8, 8)
    for name in ("one", "two"):
        b.add(name, "conv2d", "input", channels=4, kernel=3)
    graph = b.add("sum", "add", "one", "two").graph()
    arrays = random_arrays(graph)
    message = refused(anonymous(proto(graph, arrays)), graph, tmp_path)
    assert message == (
        "'one' (conv2d) can be 'one' (Conv) or 'two' (Conv), whose weights differ: "
        "neither names nor structure distinguish them"
    )
    assert_equal(read(proto(graph, arrays), graph, tmp_path), arrays)
    equal = dict.fromkeys(arrays, arrays["one.weight"])
    assert_equal(read(anonymous(proto(graph, equal)), graph, tmp_path), equal)


def test_a_layer_that_is_called_twice_has_one_set_of_weights(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"channels": 3, "kernel": 3, "padding": 1}
    once = (
        Builder(3, 8, 8).add("a", "conv2d", **fields).add("r", "relu").add("b", "conv2d", calls="a", **fields).graph()
    )
    twice = Builder(3, 8, 8).add("a", "conv2d", **fields).add("r", "relu").add("b", "conv2d", **fields).graph()
    message = refused(anonymous(proto(twice)), once, tmp_path)
    assert message == "'a.weight' is shared by layers of the spec, but 'b' (Conv) has different weights in the file"
    arrays = random_arrays(once)
    read_twice = read(anonymous(proto(once, arrays)), twice, tmp_path).tensors
    assert np.array_equal(read_twice["a.weight"], read_twice["b.weight"])


def test_one_shared_layer_is_not_two_layers(tmp_path: Path) -> None:
    """Both add two activations: in one of the same convolution, in the other of two convolutions."""
    one = Builder(4, 8, 8).add("a", "conv2d", channels=4, kernel=3).add("r", "relu").add("s", "sigmoid", "a")
    two = Builder(4, 8, 8).add("a", "conv2d", channels=4, kernel=3).add("r", "relu")
    two.add("b", "conv2d", "input", channels=4, kernel=3).add("s", "sigmoid")
    spec, file = (b.add("sum", "add", "r", "s").graph() for b in (one, two))
    assert refused(anonymous(proto(file)), spec, tmp_path).endswith("connected differently in the file")
    assert refused(anonymous(proto(spec)), file, tmp_path).endswith("connected differently in the file")
