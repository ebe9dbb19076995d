"""The model as a whole: names, interface, sizes, layers that are called again, metadata."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import ModelProto

from resnet_spec.graph import Graph
from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import assert_as_torch, single
from tests.resnet_spec_torch.graphs import Builder, small_resnet


def skeleton(graph: Graph) -> ModelProto:
    return OnnxBackend().compile(graph).skeleton


def shape_of(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value or None for d in value.type.tensor_type.shape.dim]


# -- names -------------------------------------------------------------------------------------------------------


def test_nodes_values_and_initializers_have_the_graph_s_names() -> None:
    graph = small_resnet()
    model = skeleton(graph).graph
    assert [node.name for node in model.node] == [node.name for node in graph.nodes]
    for node, written in zip(graph.nodes, model.node, strict=True):
        assert list(written.output) == ["logits" if node.name == "fc" else node.name]
        assert list(written.input[: len(node.inputs)]) == list(node.inputs)
        assert all(name.startswith(f"{node.name}.") for name in written.input[len(node.inputs) :])
    parameters = [(parameter.name, list(parameter.shape)) for parameter in graph.parameters()]
    assert [(tensor.name, list(tensor.dims)) for tensor in model.initializer] == parameters
    assert model.name == graph.name


def test_helper_nodes_are_named_after_their_node() -> None:
    model = skeleton(single("evo_norm_s0", 4, 5, 6, groups=2, epsilon=1e-5)).graph
    names = [node.name for node in model.node]
    assert len(set(names)) == len(names)
    assert names[-1] == "x"
    assert all(name.startswith("x.") for name in names[:-1])
    assert {"x.sigmoid", "x.reducemean", "x.reducemean_1"} <= set(names)


def test_a_name_that_is_taken_gets_a_number() -> None:
    # The first convolution's pad would have the second's name, and the third has the output's.
    b = Builder(2, 9, 9).add("a", "conv2d", channels=2, kernel=3, stride=4, padding="same")
    b.add("a.pad", "conv2d", channels=2, kernel=1).add("logits", "conv2d", channels=2, kernel=1)
    graph = b.add("pool", "global_avg_pool").add("flatten", "flatten").graph()
    model = skeleton(graph).graph
    assert {"a.pad", "a.pad_1", "logits"} <= {node.name for node in model.node}
    assert [output.name for output in model.output] == ["logits"]
    assert_as_torch(graph, (1, 2, 9, 9), (2, 2, 4, 7))


@pytest.mark.parametrize(
    ("outputs", "names", "wanted"),
    [
        (("flatten",), (), ["logits"]),
        (("softmax",), (), ["probabilities"]),
        (("conv",), (), ["conv"]),
        (("conv", "flatten"), (), ["conv", "flatten"]),
        (("conv", "flatten"), ("map", "vector"), ["map", "vector"]),
        # One value under two names, and one that passes through dropout.
        (("drop", "conv"), ("a", "b"), ["a", "b"]),
        (("conv", "conv"), (), ["conv", "conv_1"]),
        (("through", "flatten"), (), ["through", "flatten"]),
    ],
)
def test_outputs(outputs: tuple[str, ...], names: tuple[str, ...], wanted: list[str]) -> None:
    b = Builder(2, 6, 6).add("through", "dropout", rate=0.5).add("conv", "conv2d", channels=3, kernel=2)
    b.add("drop", "dropout", rate=0.5).add("pool", "global_avg_pool").add("flatten", "flatten")
    graph = b.add("softmax", "softmax").graph().with_outputs(outputs, names)
    assert [output.name for output in skeleton(graph).graph.output] == wanted
    assert_as_torch(graph, (2, 2, 6, 6), (1, 2, 5, 7))


# -- sizes -------------------------------------------------------------------------------------------------------


def test_batch_height_and_width_are_dynamic() -> None:
    graph = small_resnet().with_outputs(["layer1.1.relu3", "fc"])
    model = skeleton(graph).graph
    assert [shape_of(value) for value in model.input] == [["batch", 3, "height", "width"]]
    assert [shape_of(value) for value in model.output] == [["batch", 8, None, None], ["batch", 5]]
    assert_as_torch(graph, (1, 3, 32, 32), (3, 3, 47, 50), (2, 3, 65, 33))


def test_a_vector_may_depend_on_the_size() -> None:
    graph = single("flatten", 2, 4, 4)
    assert shape_of(skeleton(graph).graph.output[0]) == ["batch", None]
    assert_as_torch(graph, (1, 2, 3, 5))


@pytest.mark.parametrize("fixed", [{}, {"op": "reshape", "shape": [4, 2, 4]}])
def test_a_graph_that_depends_on_its_size_has_fixed_dimensions(fixed: dict[str, Any]) -> None:
    b = Builder(2, 4, 4)
    b = b.add("x", **fixed) if fixed else b.add("flatten", "flatten").add("x", "linear", features=3)
    graph = b.graph()
    model = skeleton(graph).graph
    assert [shape_of(value) for value in model.input] == [["batch", 2, 4, 4]]
    assert [shape_of(value) for value in model.output] == [["batch", *graph.nodes[-1].shape]]
    assert_as_torch(graph, (3, 2, 4, 4))


def test_a_network_of_vectors() -> None:
    b = Builder(5).add("fc", "linear", features=12).add("reshape", "reshape", shape=[3, 2, 2])
    graph = b.add("up", "conv_transpose2d", channels=2, kernel=3, stride=2, padding="same").graph()
    model = skeleton(graph).graph
    assert [shape_of(value) for value in (*model.input, *model.output)] == [["batch", 5], ["batch", 2, 4, 4]]
    assert_as_torch(graph, (1, 5), (4, 5))


# -- the rest ----------------------------------------------------------------------------------------------------


def test_a_layer_that_is_called_again_has_its_parameters_once() -> None:
    b = Builder(2, 6, 6).add("norm", "batch_norm").add("relu", "relu").add("again", "batch_norm", calls="norm")
    graph = b.graph()
    assert len(skeleton(graph).graph.initializer) == 4
    assert_as_torch(graph, (2, 2, 6, 6))


def test_metadata_names_the_architecture() -> None:
    graph = small_resnet()
    model = skeleton(graph)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert Graph.from_json(metadata["resnet_spec.graph"]) == graph
    assert metadata["resnet_spec.fingerprint"] == graph.fingerprint
    assert model.producer_name == "resnet-spec"
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
