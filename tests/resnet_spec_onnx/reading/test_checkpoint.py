"""Files read back: by name, by place, and not at all where they are another network, foreign, or broken."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import resnet_spec
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.graph import Graph
from resnet_spec.graph.folding import fold, fold_arrays
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.reading import constants, contents, simplifying
from resnet_spec_onnx.reading.checkpoint import NOT_WEIGHTS, read_onnx
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet

Arrays = dict[str, NDArray[Any]]


def proto(graph: Graph, arrays: Arrays | None = None, dtype: str = "float32") -> ModelProto:
    """A graph's model, which says nothing of the graph."""
    model = model_of(graph, arrays or random_arrays(graph, dtype=dtype), dtype).to_proto()
    del model.metadata_props[:]
    return model


def renamed(model: ModelProto, names: Iterable[tuple[str, str]]) -> ModelProto:
    """The model with other names for its initializers."""
    known = dict(names)
    for tensor in model.graph.initializer:
        tensor.name = known.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = known.get(name, name)
    return model


def anonymous(model: ModelProto) -> ModelProto:
    """The model with numbers for names, in an order that tells nothing."""
    names = [tensor.name for tensor in model.graph.initializer]
    numbers = [str(number) for number in range(len(names))]
    random.Random(0).shuffle(numbers)
    return renamed(model, zip(names, numbers, strict=True))


def read(model: ModelProto, graph: Graph | None, folder: Path) -> Checkpoint:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_onnx(path, graph)


def refused(model: ModelProto, graph: Graph | None, folder: Path) -> str:
    """What is said of a file that is refused, in one line."""
    with pytest.raises(WeightsError) as caught:
        read(model, graph, folder)
    said = str(caught.value)
    assert "\n" not in said
    return said.removeprefix(f"{folder / 'model.onnx'}: ")


def assert_equal(checkpoint: Checkpoint, arrays: Arrays) -> None:
    assert checkpoint.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        assert checkpoint.tensors[name].dtype == array.dtype, name
        assert np.array_equal(checkpoint.tensors[name], array), name


def node_of(model: ModelProto, name: str) -> NodeProto:
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def made(
    nodes: Iterable[NodeProto],
    arrays: Arrays,
    shape: Iterable[Any] = (1, 3, 16, 16),
    opset: int = 17,
    output: str = "y",
) -> ModelProto:
    """A model of nodes from ``x`` to ``y``, not looked at by ONNX's checker."""
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "net", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """A node that bears its output's name."""
    return helper.make_node(op_type, inputs.split(), [output], output, **attributes)


def convolution(bias: bool = False, size: int = 16, **fields: Any) -> Graph:
    """A graph of one convolution."""
    fields = {"channels": 4, "kernel": 3, **fields}
    return Builder(3, size, size).add("conv", "conv2d", bias=bias, **fields).graph()


KERNEL = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
VECTORS = np.random.default_rng(2).uniform(0.5, 1.5, (4, 4)).astype(np.float32)


# -- by name and by place ----------------------------------------------------------------------------------------


def networks() -> dict[str, Callable[[], Graph]]:
    def shipped(name: str, **overrides: Any) -> Callable[[], Graph]:
        small = {"input.height": 64, "input.width": 64, "parameters.classes": 5}
        return lambda: resnet_spec.load(name, small | overrides).to_graph()

    return {
        "plain": small_resnet,
        "folded": lambda: fold(small_resnet()),
        "dilated": shipped("resnet18", **{"parameters.output_stride": 8}),
        "preactivation": shipped("cifar/wrn_16_8"),
        "gates": shipped("timm/seresnext26t_32x4d"),
        "gates along channels": shipped("timm/ecaresnet26t"),
        "groups": shipped("timm/resnetv2_50d_gn"),
        "called twice": shipped("tutorial/resnet18"),
        "features": shipped("keras/resnet50v2", outputs="features"),
        "asymmetric": shipped("slim/resnet_v1_50"),
        "zero padding": shipped("cifar/resnet20"),
    }


@pytest.mark.parametrize("name", networks())
def test_what_we_write_comes_back_to_the_bit(name: str, tmp_path: Path) -> None:
    graph = networks()[name]()
    arrays = random_arrays(graph)
    model = proto(graph, arrays)
    by_name = read(model, graph, tmp_path)
    assert_equal(by_name, arrays)
    assert by_name.remarks == ()
    by_place = read(anonymous(model), graph, tmp_path)
    assert_equal(by_place, arrays)
    assert by_place.remarks == ()
    assert by_place.ignored == {}


@pytest.mark.parametrize("name", ["std_conv2d", "evo_norm_s0", "filter_response_norm", "position_batch_norm"])
def test_what_is_not_compared_is_read_by_name_alone(name: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "std_conv2d": {"channels": 4, "kernel": 3, "epsilon": 1e-6},
        "evo_norm_s0": {"groups": 2, "epsilon": 1e-5},
        "filter_response_norm": {"epsilon": 1e-6, "threshold": True},
        "position_batch_norm": {},
    }[name]
    graph = Builder(4, 8, 8).add("a", name, **fields).graph()
    arrays = random_arrays(graph)
    model = model_of(graph, arrays).to_proto()
    assert_equal(known := read(model, graph, tmp_path), arrays)
    assert known.remarks == ()
    del model.metadata_props[:]
    assert_equal(unknown := read(model, graph, tmp_path), arrays)
    assert unknown.remarks[0].startswith("is read by names alone, and not shown to be the same network: 'a' ")
    said = refused(anonymous(model), graph, tmp_path)
    assert said == f"cannot be read by the places of its weights: 'a' ({name}) is not compared with files"


def test_without_a_graph_the_initializers_come_as_they_are(tmp_path: Path) -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    assert_equal(read(proto(graph, arrays), None, tmp_path), arrays)
    assert len(read(anonymous(proto(graph, arrays)), None, tmp_path).tensors) == len(arrays)


def test_the_names_of_another_library_are_read(tmp_path: Path) -> None:
    graph = resnet_spec.load("keras/resnet50", {"parameters.classes": 3, "folded": True}).to_graph()
    arrays = random_arrays(graph)
    words = {"weight": "kernel", "bias": "bias"}
    names = {name: f"{name.rpartition('.')[0]}/{words[name.rpartition('.')[2]]}:0" for name in arrays}
    checkpoint = read(renamed(proto(graph, arrays), names.items()), graph, tmp_path)
    assert set(checkpoint.tensors) == set(names.values())


def test_a_weight_that_an_exporter_keeps_once_has_both_names(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("a", "batch_norm").add("b", "batch_norm").graph()
    arrays = random_arrays(graph)
    arrays["b.weight"] = arrays["a.weight"]
    for model in (proto(graph, arrays), renamed(proto(graph, arrays), [("a.weight", "0"), ("b.bias", "1")])):
        source = model.graph.initializer[0].name
        (copy,) = [tensor for tensor in model.graph.initializer if tensor.name == "b.weight"]
        model.graph.initializer.remove(copy)
        model.graph.node.insert(0, node("Identity", source, "b.weight"))
        assert_equal(read(model, graph, tmp_path), arrays)


def test_constants_that_are_no_weights_are_counted(tmp_path: Path) -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    for change in (lambda model: model, anonymous):
        model = change(proto(graph, arrays))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "nowhere"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(7), "bn1.num_batches_tracked"))
        checkpoint = read(model, graph, tmp_path)
        assert_equal(checkpoint, arrays)
        assert checkpoint.ignored == {NOT_WEIGHTS: 2}


def test_widths_are_left_to_the_shapes(tmp_path: Path) -> None:
    """So that other classes are told as such, and can be adapted."""
    graph = small_resnet()
    path = tmp_path / "model.onnx"
    path.write_bytes(anonymous(proto(graph)).SerializeToString())
    nodes = [
        node.model_copy(update={"operation": node.operation.model_copy(update={"features": 7}), "shape": (7,)})
        if node.name == "fc"
        else node
        for node in graph.nodes
    ]
    wider = graph.with_nodes(nodes)
    with pytest.raises(WeightsError, match=r"fc\.weight: has shape \[5, 16\], not \[7, 16\]"):
        resnet_spec.read_weights(path, wider)
    adapted = resnet_spec.read_weights(path, wider, adapt=["classes"])
    assert np.array_equal(adapted["conv1.weight"], random_arrays(graph)["conv1.weight"])


def test_a_file_may_go_on_where_the_graph_ends(tmp_path: Path) -> None:
    graph = small_resnet()
    backbone = graph.with_outputs(["layer2.0.relu3"])
    path = tmp_path / "model.onnx"
    path.write_bytes(anonymous(proto(graph)).SerializeToString())
    with pytest.raises(WeightsError, match=r"\(2 unexpected\)"):
        resnet_spec.read_weights(path, backbone)
    assert len(resnet_spec.read_weights(path, backbone, adapt=["backbone"])) == len(backbone.parameters())
    said = refused(proto(backbone), graph, tmp_path)
    assert (
        said
        == "the spec has 'avgpool' (global_avg_pool) after 'layer2.0.relu3' (relu), where the file has nothing more"
    )


# -- another architecture ----------------------------------------------------------------------------------------


def _set(name: str, attribute: str, value: Any) -> Callable[[ModelProto], None]:
    return lambda model: set_attribute(node_of(model, name), attribute, value)


def _move_stride(model: ModelProto) -> None:
    set_attribute(node_of(model, "layer2.0.conv1"), "strides", [2, 2])
    set_attribute(node_of(model, "layer2.0.conv2"), "strides", [1, 1])


def _other_shortcut(model: ModelProto) -> None:
    """The second block's shortcut comes from before the first one's activation."""
    node_of(model, "layer1.1.add").input[1] = "layer1.0.add"


def _swap_inputs(model: ModelProto) -> None:
    """Two convolutions of equal shape change places, with their names."""
    first, second = node_of(model, "layer1.0.conv2"), node_of(model, "layer1.1.conv2")
    first.input[1], second.input[1] = second.input[1], first.input[1]


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
        "'layer1.1.add' (add) joins 'layer1.1.bn3' (batch_norm) and 'layer1.0.relu3' (relu) in the spec, and "
        "'layer1.1.add' (Add) joins 'layer1.1.bn3' (BatchNormalization) and 'layer1.0.add' (Add) in the file",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("change", [lambda model: model, anonymous], ids=["named", "anonymous"])
def test_another_architecture_is_refused_by_its_first_difference(
    name: str, change: Callable[[ModelProto], ModelProto], tmp_path: Path
) -> None:
    graph = small_resnet()
    model = change(proto(graph))
    mutate, said = MUTATIONS[name]
    mutate(model)
    assert refused(model, graph, tmp_path).startswith(said)


def test_names_that_are_not_where_they_belong_are_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    model = proto(graph)
    _swap_inputs(model)
    assert refused(model, graph, tmp_path) == (
        "'layer1.0.conv2' (conv2d) in the spec and 'layer1.0.conv2' (Conv) in the file differ in weights: "
        "[layer1.0.conv2.weight] and [layer1.1.conv2.weight]"
    )
    # Where not all are named, those that are must not lie.
    model = renamed(model, [("fc.weight", "0")])
    assert refused(model, graph, tmp_path) == (
        "'layer1.1.conv2.weight' has the name of 'layer1.1.conv2.weight' and the place of 'layer1.0.conv2.weight'"
    )


def test_another_networks_file_is_told_by_place(tmp_path: Path) -> None:
    said = refused(proto(convolution()), small_resnet(), tmp_path)
    assert "'conv1' (conv2d) in the spec and 'conv' (Conv) in the file differ in kernel: [7, 7] and [3, 3]" in said
    vector = Builder(8).add("fc", "linear", features=2).graph()
    assert refused(proto(vector), small_resnet(), tmp_path) == "its input has 2 axes, and the spec's 4"


def test_a_file_of_ours_for_another_spec_is_left_to_the_core(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    backend, graph = OnnxBackend(), small_resnet()
    backend.write(model_of(graph, random_arrays(graph)), graph, path)
    with pytest.raises(WeightsError, match="was written for another architecture"):
        resnet_spec.read_weights(path, convolution())


# -- branches ----------------------------------------------------------------------------------------------------


def branches(**second: Any) -> Graph:
    """Two convolutions of equal shape that read the same value."""
    fields: dict[str, Any] = {"channels": 4, "kernel": 3, "padding": 1}
    b = Builder(4, 8, 8).add("before", "relu").add("one", "conv2d", **fields)
    b.add("two", "conv2d", "before", **fields | second)
    b.add("middle", "relu", "one")
    return b.add("sum", "add", "middle", "two").graph()


def test_branches_are_told_apart_by_what_reads_them(tmp_path: Path) -> None:
    graph = branches()
    arrays = random_arrays(graph)
    model = anonymous(proto(graph, arrays))
    node_of(model, "sum").input[:] = ["two", "middle"]
    assert_equal(read(model, graph, tmp_path), arrays)


def test_a_branch_that_is_read_again_later_is_told_apart(tmp_path: Path) -> None:
    """Both read the same and are added; one of them is an output, too."""
    b = Builder(4, 8, 8).add("before", "relu")
    for name in ("one", "two"):
        b.add(name, "conv2d", "before", channels=4, kernel=3, padding=1)
    b.add("sum", "add", "one", "two").add("end", "multiply", "sum", "two")
    graph = b.graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


def test_branches_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    b = Builder(4, 8, 8)
    for name in ("one", "two"):
        b.add(name, "conv2d", "input", channels=4, kernel=3)
    graph = b.add("sum", "add", "one", "two").graph()
    arrays = random_arrays(graph)
    said = refused(anonymous(proto(graph, arrays)), graph, tmp_path)
    assert said == (
        "'one' (conv2d) may be 'one' (Conv) or 'two' (Conv), which have other weights, and nothing tells which it is"
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
    said = refused(anonymous(proto(twice)), once, tmp_path)
    assert said == "'a.weight' is used more than once in the spec, and 'b' (Conv) has other weights in the file"
    arrays = random_arrays(once)
    read_twice = read(anonymous(proto(once, arrays)), twice, tmp_path).tensors
    assert np.array_equal(read_twice["a.weight"], read_twice["b.weight"])


def test_a_value_that_two_layers_read_is_no_two_values(tmp_path: Path) -> None:
    """Both compute the same sum from the same layers, but for the weights, of which the file has twice as many."""
    one = Builder(4, 8, 8).add("a", "conv2d", channels=4, kernel=3).add("r", "relu").add("s", "sigmoid", "a")
    two = Builder(4, 8, 8).add("a", "conv2d", channels=4, kernel=3).add("r", "relu")
    two.add("b", "conv2d", "input", channels=4, kernel=3).add("s", "sigmoid")
    spec, file = (b.add("sum", "add", "r", "s").graph() for b in (one, two))
    assert refused(anonymous(proto(file)), spec, tmp_path).endswith("connected otherwise in the file")
    assert refused(anonymous(proto(spec)), file, tmp_path).endswith("connected otherwise in the file")


# -- folded normalizations ---------------------------------------------------------------------------------------


def test_folded_normalizations_are_told_as_such(tmp_path: Path) -> None:
    graph = small_resnet()
    folded = fold_arrays(graph, random_arrays(graph))
    assert refused(anonymous(proto(fold(graph), folded)), graph, tmp_path) == (
        "its batch normalizations are folded into the convolutions before them; "
        "a spec with 'folded: true' (--set folded=true) has them so"
    )
    model = anonymous(proto(fold(graph), folded))
    set_attribute(node_of(model, "maxpool"), "strides", [1, 1])
    assert "--set folded=true) has them so; but even so, 'maxpool' (max_pool2d)" in refused(model, graph, tmp_path)


@pytest.mark.parametrize("change", [lambda model: model, anonymous], ids=["named", "anonymous"])
def test_normalizations_that_are_not_folded_are_told_as_such(
    change: Callable[[ModelProto], ModelProto], tmp_path: Path
) -> None:
    graph = small_resnet()
    assert refused(change(proto(graph)), fold(graph), tmp_path) == (
        "its batch normalizations are not folded into the convolutions, as the spec says they are; "
        "'resnet-spec convert --fold' with the spec that has them folds them"
    )


def chain(*ops: str, shape: tuple[int, ...] = (4, 1, 1)) -> ModelProto:
    """A convolution and constants behind it."""
    names = ["kernel", *(str(index) for index in range(len(ops)))]
    nodes = [node("Conv", "x kernel", "c")]
    for index, op in enumerate(ops):
        nodes.append(node(op, f"{nodes[-1].output[0]} {index}", "y" if index == len(ops) - 1 else f"v{index}"))
    arrays = [KERNEL, *(vector.reshape(shape) for vector in VECTORS[: len(ops)])]
    return made(nodes, dict(zip(names, arrays, strict=True)))


def test_an_offset_behind_a_convolution_is_its_bias_to_the_bit(tmp_path: Path) -> None:
    assert_equal(read(chain("Add"), convolution(bias=True), tmp_path), {"conv.weight": KERNEL, "conv.bias": VECTORS[0]})
    held = read(chain("Sub"), convolution(bias=True), tmp_path)
    assert_equal(held, {"conv.weight": KERNEL, "conv.bias": -VECTORS[0]})
    assert held.remarks == ()


@pytest.mark.parametrize("ops", [("Add", "Sub", "Mul", "Add"), ("Mul", "Sub"), ("Sub", "Div", "Add"), ("Mul",)])
def test_constants_behind_a_convolution_are_multiplied_out_and_rounded_once(
    ops: tuple[str, ...], tmp_path: Path
) -> None:
    held = read(chain(*ops), convolution(bias=True), tmp_path)
    factor, offset = np.ones(4), np.zeros(4)
    for op, vector in zip(ops, VECTORS.astype(np.float64), strict=False):
        if op in ("Add", "Sub"):
            offset = offset + (vector if op == "Add" else -vector)
        else:
            by = vector if op == "Mul" else 1 / vector
            factor, offset = factor * by, offset * by
    wanted = (KERNEL * factor[:, None, None, None]).astype(np.float32), offset.astype(np.float32)
    assert_equal(held, {"conv.weight": wanted[0], "conv.bias": wanted[1]})
    assert held.remarks == (
        "constants behind 1 convolutions, folded normalizations written out, were multiplied into their weights",
    )
    session = onnxruntime.InferenceSession(chain(*ops).SerializeToString(), providers=["CPUExecutionProvider"])
    images = random_images(1, 3, 16, 16)
    graph = convolution(bias=True)
    ours = OnnxBackend().forward(model_of(graph, dict(held.tensors)), images)[0]
    np.testing.assert_allclose(ours, session.run(None, {"x": images})[0], rtol=2e-5, atol=2e-5)


def test_constants_elsewhere_are_no_part_of_a_convolution(tmp_path: Path) -> None:
    graph = convolution(bias=True)
    along_rows = made(
        [node("Conv", "x kernel", "c"), node("Add", "c b", "y")], {"kernel": KERNEL, "b": np.ones((14, 1), np.float32)}
    )
    assert "'y' (Add) reads a constant [14, 1], which is not one number for each channel" in refused(
        along_rows, graph, tmp_path
    )
    shared = made(
        [node("Conv", "x kernel", "c"), node("Add", "c b", "d"), node("Add", "c d", "y")],
        {"kernel": KERNEL, "b": VECTORS[0].reshape(4, 1, 1)},
    )
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("relu", "relu")
    said = refused(shared, b.add("sum", "add", "conv", "relu").graph(), tmp_path)
    assert said.startswith("the spec has 'relu' (relu) where the file has 'd' (Add), a constant for each channel")


def test_a_normalization_in_front_is_refused(tmp_path: Path) -> None:
    arrays = {"mean": np.full((1, 3, 1, 1), 100, np.float32), "kernel": KERNEL}
    model = made([node("Sub", "x mean", "v"), node("Conv", "v kernel", "y")], arrays)
    assert refused(model, convolution(), tmp_path) == (
        "the spec has 'conv' (conv2d) where the file has 'v' (Sub): it normalizes its input itself, "
        "and the spec does not"
    )


def test_a_normalization_of_constants_alone_is_refused(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("relu", "relu").add("norm", "batch_norm").graph()
    nodes = [node("Relu", "x", "r"), node("Mul", "r a", "v"), node("Add", "v b", "y")]
    arrays = {"a": VECTORS[0].reshape(4, 1, 1), "b": VECTORS[1].reshape(4, 1, 1)}
    said = refused(made(nodes, arrays, (1, 4, 8, 8)), graph, tmp_path)
    assert said == (
        "the spec has 'norm' (batch_norm) where the file has 'v' (Mul), a constant for each channel: "
        "of a normalization that is written so, the statistics cannot be told"
    )


def test_a_bias_that_a_file_lacks_is_zero(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    held = read(model, convolution(bias=True), tmp_path)
    assert_equal(held, {"conv.weight": KERNEL, "conv.bias": np.zeros(4, np.float32)})
    assert held.remarks == ("1 convolutions that have a bias in the spec have none in the file; theirs are zeros",)
    biased = made([node("Conv", "x kernel b", "y")], {"kernel": KERNEL, "b": VECTORS[0]})
    said = refused(biased, convolution(), tmp_path)
    assert said == "'y' (Conv) has a bias in the file, and 'conv' (conv2d) none in the spec"


def test_a_scale_that_a_spec_lacks_must_be_one(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("norm", "batch_norm", scale=False).graph()
    arrays = random_arrays(graph)
    model = anonymous(proto(graph, arrays))
    assert_equal(read(model, graph, tmp_path), arrays)
    whole = Builder(4, 8, 8).add("norm", "batch_norm").graph()
    said = refused(anonymous(proto(whole)), graph, tmp_path)
    assert said == "'norm' (BatchNormalization) has a weight in the file, and 'norm' (batch_norm) none in the spec"


# -- the same in other words -------------------------------------------------------------------------------------


def pooled(size: int = 16, *, relu: bool = True, **fields: Any) -> Graph:
    b = Builder(3, size, size).add("conv", "conv2d", channels=4, kernel=3, padding=1)
    b = b.add("relu", "relu") if relu else b
    return b.add("pool", "max_pool2d", kernel=3, stride=2, **fields).graph()


def pads(*numbers: int) -> Arrays:
    return {"pads": np.array(numbers, np.int64)}


def pool_behind_a_pad(mode: str, *numbers: int, relu: bool = True, **attributes: Any) -> ModelProto:
    middle = [node("Relu", "c", "r")] if relu else [node("Identity", "c", "r")]
    nodes = [
        node("Conv", "x kernel", "c", pads=[1, 1, 1, 1]),
        *middle,
        node("Pad", "r pads", "p", mode=mode),
        node("MaxPool", "p", "y", kernel_shape=[3, 3], strides=[2, 2], **attributes),
    ]
    return made(nodes, {"kernel": KERNEL, **pads(*numbers)})


def convolved(*before: NodeProto, behind: str = "x", **attributes: Any) -> list[NodeProto]:
    """Nodes, and a convolution of what they give."""
    return [*before, node("Conv", f"{behind} kernel", "y", **attributes)]


FREE = (1, 3, "h", "w")

SAME: dict[str, tuple[Graph, ModelProto]] = {
    "pads that no window reaches": (
        convolution(stride=2, padding=[[1, 0], [1, 0]]),
        made(convolved(strides=[2, 2], pads=[1, 1, 1, 1]), {"kernel": KERNEL}),
    ),
    "same as numbers": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], pads=[0, 0, 1, 1]), {"kernel": KERNEL}),
    ),
    "same as such": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], auto_pad="SAME_UPPER"), {"kernel": KERNEL}, FREE),
    ),
    "same with the odd row before": (
        convolution(stride=2, padding=1),
        made(convolved(strides=[2, 2], auto_pad="SAME_LOWER"), {"kernel": KERNEL}),
    ),
    "no padding by its name": (convolution(), made(convolved(auto_pad="VALID"), {"kernel": KERNEL})),
    "a pad by a node": (
        convolution(padding=1),
        made(convolved(node("Pad", "x pads", "p"), behind="p"), {"kernel": KERNEL, **pads(0, 0, 1, 1, 0, 0, 1, 1)}),
    ),
    "a pad as an attribute": (
        convolution(padding=1),
        made(convolved(node("Pad", "x", "p", pads=[0, 0, 1, 1, 0, 0, 1, 1]), behind="p"), {"kernel": KERNEL}, opset=10),
    ),
    "a pad of some axes": (
        convolution(padding=1),
        made(
            convolved(node("Pad", "x pads zero axes", "p"), behind="p"),
            {"kernel": KERNEL, "zero": np.zeros((), np.float32), "axes": np.array([2, 3]), **pads(1, 1, 1, 1)},
            opset=18,
        ),
    ),
    "zeros before a pool of what is not negative": (
        pooled(padding=1),
        pool_behind_a_pad("constant", 0, 0, 1, 1, 0, 0, 1, 1),
    ),
    "edges before a pool": (pooled(padding="same"), pool_behind_a_pad("edge", 0, 0, 0, 0, 0, 0, 1, 1)),
    "edges before a pool of signed values": (
        pooled(padding="same", relu=False),
        pool_behind_a_pad("edge", 0, 0, 0, 0, 0, 0, 1, 1, relu=False),
    ),
    "a last window that sticks out": (
        pooled(padding=[[0, 1], [0, 1]]),
        pool_behind_a_pad("constant", *[0] * 8, ceil_mode=1),
    ),
    "casts, dropout and transpositions": (
        convolution(),
        made(
            [
                node("Cast", "x", "h", to=TensorProto.FLOAT),
                node("Conv", "h kernel", "c"),
                node("Dropout", "c", "d"),
                node("Transpose", "d", "t", perm=[1, 0, 2, 3]),
                node("Transpose", "t", "y", perm=[1, 0, 2, 3]),
            ],
            {"kernel": KERNEL},
        ),
    ),
    "a kernel that is laid out by nodes": (
        convolution(),
        made(
            [node("Transpose", "k", "kernel", perm=[3, 2, 0, 1]), *convolved()],
            {"k": np.ascontiguousarray(KERNEL.transpose(2, 3, 1, 0))},
        ),
    ),
    "a factor of one": (
        convolution(),
        made(
            [node("Conv", "x kernel", "c"), node("Mul", "c one", "y")],
            {"kernel": KERNEL, "one": np.ones((), np.float32)},
        ),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_in_other_words_is_the_same(name: str, tmp_path: Path) -> None:
    graph, model = SAME[name]
    assert_equal(read(model, graph, tmp_path), {"conv.weight": KERNEL})


OTHER: dict[str, tuple[Graph, ModelProto, str]] = {
    "same is no number where sizes are free": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], pads=[0, 0, 1, 1]), {"kernel": KERNEL}, FREE),
        "differ in effective padding",
    ),
    "zeros before a pool of signed values": (
        pooled(padding=1, relu=False),
        pool_behind_a_pad("constant", 0, 0, 1, 1, 0, 0, 1, 1, relu=False),
        "the spec has 'pool' (max_pool2d) where the file has 'p' (Pad)",
    ),
    "edges further out than a window sees": (
        pooled(padding=1),
        pool_behind_a_pad("edge", 0, 0, 3, 3, 0, 0, 3, 3),
        "the spec has 'pool' (max_pool2d) where the file has 'p' (Pad)",
    ),
    "zeros within a mean": (
        Builder(3, 16, 16)
        .add("conv", "conv2d", channels=4, kernel=3)
        .add("pool", "avg_pool2d", kernel=3, padding=1, count_include_pad=False)
        .graph(),
        made(
            [
                node("Conv", "x kernel", "c"),
                node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[3, 3], pads=[1] * 4, count_include_pad=1),
            ],
            {"kernel": KERNEL},
        ),
        "differ in counted: none and [[1, 0], [1, 0]]",
    ),
    "groups": (
        Builder(4, 8, 8).add("conv", "conv2d", channels=4, kernel=3, groups=2).graph(),
        made(convolved(), {"kernel": np.zeros((4, 4, 3, 3), np.float32)}, (1, 4, 8, 8)),
        "'conv' (conv2d) in the spec and 'y' (Conv) in the file differ in groups: 2 and 1",
    ),
    "groups that do not fit the channels": (
        convolution(),
        made(convolved(group=3), {"kernel": KERNEL}),
        "'y' (Conv) has a kernel for 9 channels, and reads 3",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_only_looks_the_same_is_refused(name: str, tmp_path: Path) -> None:
    graph, model, said = OTHER[name]
    assert said in refused(model, graph, tmp_path)


def test_what_depends_on_the_size_is_told_by_its_shape(tmp_path: Path) -> None:
    graph = Builder(3, 4, 4).add("flatten", "flatten").add("fc", "linear", features=2).graph()
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f k b", "y", transB=1)]
    model = made(nodes, {"k": np.zeros((2, 768), np.float32), "b": np.zeros(2, np.float32)})
    assert read(model, graph, tmp_path).tensors["fc.weight"].shape == (2, 768)


# -- types, and where data lie -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_precision_is_read_as_it_is_stored(kind: int, raw: bool, tmp_path: Path) -> None:
    stored = KERNEL.astype(helper.tensor_dtype_to_np_dtype(kind))
    tensor = helper.make_tensor("kernel", kind, KERNEL.shape, stored.tobytes() if raw else stored.reshape(-1), raw)
    model = made([node("Conv", "x kernel", "y")], {})
    model.graph.initializer.append(tensor)
    for graph, name in ((convolution(), "conv.weight"), (None, "kernel")):
        checkpoint = read(model, graph, tmp_path)
        widened = kind == TensorProto.BFLOAT16
        assert_equal(checkpoint, {name: stored.astype(np.float32) if widened else stored})
        assert checkpoint.widened == ({name} if widened else set())


def test_half_precision_is_taken_only_where_asked_for(tmp_path: Path) -> None:
    graph = small_resnet()
    backend, arrays = OnnxBackend(), random_arrays(graph)
    path = tmp_path / "half.onnx"
    backend.write(model_of(graph, arrays), graph, path, half=True)
    with pytest.raises(WeightsError, match="half precision"):
        resnet_spec.read_weights(path, graph)
    named = resnet_spec.read_weights(path, graph, adapt=["half"])
    path.write_bytes(anonymous(onnx.load(path)).SerializeToString())
    placed = resnet_spec.read_weights(path, graph, adapt=["half"])
    for name, array in arrays.items():
        kept = array if "running" in name else array.astype(np.float16).astype(np.float32)
        assert np.array_equal(named[name], kept)
        assert np.array_equal(placed[name], kept)


def external(folder: Path, location: str, **said: int) -> Path:
    model = proto(convolution())
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    for key, value in said.items():
        tensor.external_data.add(key=key, value=str(value))
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(bytes(64) + data)
    (folder.parent / "outside.bin").write_bytes(bytes(64) + data)
    return folder / "model.onnx"


def test_data_beside_the_model_are_read(tmp_path: Path) -> None:
    path = external(tmp_path / "model", "weights.bin", offset=64, length=432)
    assert_equal(read_onnx(path, convolution()), random_arrays(convolution()))
    assert_equal(read_onnx(path), random_arrays(convolution()))


@pytest.mark.parametrize(
    ("location", "said", "message"),
    [
        ("../outside.bin", {"offset": 64}, "refused: its data lie outside the folder"),
        ("link.bin", {"offset": 64}, "refused: its data lie outside the folder"),
        ("", {}, "refused: its data lie outside the folder"),
        ("absent.bin", {}, "cannot be read"),
        ("weights.bin", {"offset": 65}, "are not there"),
        ("weights.bin", {"offset": -1}, "are not there"),
        ("weights.bin", {"length": 431}, "are not there"),
        ("weights.bin", {"offset": 2**80}, "are not there"),
        ("weights\0.bin", {}, "null"),
    ],
)
def test_data_elsewhere_or_not_there_are_refused(
    location: str, said: dict[str, int], message: str, tmp_path: Path
) -> None:
    path = external(tmp_path / "model", location, **said)
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "outside.bin")
    for graph in (convolution(), None):
        with pytest.raises(WeightsError, match=message):
            read_onnx(path, graph)


def test_an_absolute_place_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path / "model", str(tmp_path / "outside.bin"), offset=64)
    with pytest.raises(WeightsError, match="refused"):
        read_onnx(path)


# -- foreign, broken and hostile files ---------------------------------------------------------------------------


def _sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


def _function(model: ModelProto) -> None:
    model.functions.add(name="f", domain="ours")


def _graph_within(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="then_branch", type=5).g.SetInParent()


@pytest.mark.parametrize(
    ("change", "what"),
    [(_sparse, "sparse tensors"), (_function, "functions"), (_graph_within, "graphs within nodes")],
)
def test_what_is_more_than_layers_and_weights_is_refused(
    change: Callable[[ModelProto], None], what: str, tmp_path: Path
) -> None:
    model = proto(convolution())
    change(model)
    for graph in (convolution(), None):
        assert refused(model, graph, tmp_path) == f"holds {what}, which are not read"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (convolved(domain="ours"), "'y' (Conv) is an operation of 'ours'"),
        (convolved(node("Softplus", "x", "s"), behind="s"), "'s' (Softplus) is an operation that is not"),
        ([node("Conv", "z kernel", "y")], "'y' (Conv) reads 'z' before it is there"),
        (
            [node("Relu", "b", "a"), node("Relu", "a", "b"), node("Conv", "b kernel", "y")],
            "'a' (Relu) reads 'b' before",
        ),
        ([node("Relu", "x", "x"), node("Conv", "x kernel", "y")], "'x' (Relu): 'x' is there twice"),
        ([node("Conv", "x kernel", "z")], "nothing gives its output 'y'"),
        ([node("Conv", "x", "y")], "'y' (Conv) reads a value where a constant is wanted"),
        ([node("Conv", "kernel x", "y")], "'y' (Conv) reads a value where a constant is wanted"),
        (convolved(strides=2), "'y' (Conv) has an attribute 'strides' of another type"),
        (convolved(strides=[0, 1]), "'y' (Conv) has [0, 1] for 2 axes"),
        (convolved(pads=[-1, 0, 0, 0]), "'y' (Conv) has pads [-1, 0, 0, 0]"),
        (convolved(dilations=[99, 99]), "'y' (Conv): the feature map vanishes"),
        (convolved(node("Transpose", "x", "t", perm=[0, 1, 2, 2]), behind="t"), "'t' (Transpose) has no order"),
        (convolved(node("Transpose", "x", "t", perm=[0, 1, 3, 2]), behind="t"), "not batch, channels and"),
        ([node("Identity", "kernel", "y")], "none of its outputs depends on its input"),
        ([node("LSTM", "kernel", "k"), node("Conv", "x k", "y")], "'k' (LSTM) is not worked out"),
        ([node("Sqrt", "kernel", "k"), node("Conv", "x k", "y"), node("Relu", "y", "y")], "'y' (Relu): 'y' is there"),
    ],
)
def test_a_graph_that_is_not_understood_is_told(nodes: list[NodeProto], said: str, tmp_path: Path) -> None:
    assert said in refused(made(nodes, {"kernel": KERNEL}), convolution(), tmp_path)


def test_several_inputs_are_not_understood(tmp_path: Path) -> None:
    model = anonymous(proto(convolution()))
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    assert "it has 2 inputs, not one" in refused(model, convolution(), tmp_path)
    del model.graph.input[1]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert "its input 'input' holds no floating-point numbers" in refused(model, convolution(), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.dims.append(2), "has 432 bytes, and its shape [4, 3, 3, 3, 2] asks for others"),
        (lambda tensor: tensor.dims.__setitem__(0, 2**40), "asks for others"),
        (lambda tensor: tensor.dims.__setitem__(0, -4), "has the shape [-4, 3, 3, 3]"),
        (lambda tensor: tensor.dims.extend([1] * 80), "maximum supported dimension"),
        (lambda tensor: tensor.ClearField("raw_data"), "kernel"),
    ],
)
def test_a_tensor_that_is_not_what_it_claims_is_refused(
    change: Callable[[TensorProto], Any], said: str, tmp_path: Path
) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    change(model.graph.initializer[0])
    for graph in (convolution(), None):
        assert said in refused(model, graph, tmp_path)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    model.graph.initializer.append(model.graph.initializer[0])
    assert refused(model, None, tmp_path) == "is not a whole ONNX file (two initializers are called 'kernel')"


def test_a_type_that_is_not_read_is_told_where_it_is_needed(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    tensor = model.graph.initializer[0]
    tensor.data_type, tensor.raw_data = TensorProto.FLOAT8E4M3FN, bytes(KERNEL.size)
    assert "'y' (Conv) reads what is not known: 'kernel' is of a type" in refused(model, convolution(), tmp_path)
    assert read(model, None, tmp_path).ignored == {NOT_WEIGHTS: 1}


def test_a_deep_chain_is_read_and_an_endless_one_refused(tmp_path: Path) -> None:
    def deep(number: int) -> ModelProto:
        names = ["c", *map(str, range(number)), "y"]
        nodes = [node("Conv", "x kernel", "c")]
        nodes += [node("Identity", before, after) for before, after in pairwise(names)]
        return made(nodes, {"kernel": KERNEL})

    assert_equal(read(deep(5_000), convolution(), tmp_path), {"conv.weight": KERNEL})
    assert "it has 70002 nodes" in refused(deep(70_000), convolution(), tmp_path)


def test_constants_that_grow_are_not_worked_out(tmp_path: Path) -> None:
    """Each node squares what the one before it holds, or makes a tensor as large as a number says."""
    arrays = {"kernel": KERNEL, "n": np.array([2**30, 2**30]), "v": np.ones((2**9, 1), np.float32)}
    nodes = [node("ConstantOfShape", "n", "big"), node("Conv", "x big", "y")]
    assert "'big' (ConstantOfShape) is not worked out" in refused(made(nodes, arrays), convolution(), tmp_path)
    nodes = [node("Transpose", "v", "t"), node("Mul", "v t", "a"), node("Conv", "x a", "y")]
    assert "'a' (Mul) is not worked out" in refused(made(nodes, arrays), convolution(), tmp_path)


def test_constants_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplifying, "MOST", 10)
    names = ["kernel", *map(str, range(12))]
    nodes = [node("Neg", before, after) for before, after in pairwise(names)]
    nodes.append(node("Conv", f"x {names[-1]}", "y"))
    said = refused(made(nodes, {"kernel": KERNEL}), convolution(), tmp_path)
    assert said.endswith("it works out more than 10 constants")


def test_fields_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FIELDS", 100)
    (tmp_path / "x.onnx").write_bytes(b"\x08\x08" * 200)
    with pytest.raises(WeightsError, match="it has more than 100 fields"):
        read_onnx(tmp_path / "x.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08", b"This is no model.\n" * 20, b"\x08\x08", bytes(1000), b"\xff" * 99])
def test_what_is_no_model_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    for graph in (None, small_resnet()):
        with pytest.raises(WeightsError, match=r"^[^\n]*x\.onnx: is not a whole ONNX file \([^\n]*\)$"):
            read_onnx(tmp_path / "x.onnx", graph)


@pytest.mark.parametrize("name", [b"kernel", b"metadata", b"doubled"])
def test_names_that_are_no_text_are_told(name: bytes, tmp_path: Path) -> None:
    nodes = [node("Identity", "kernel", "doubled"), node("Conv", "x doubled", "y")]
    model = made(nodes, {"kernel": KERNEL})
    helper.set_model_props(model, {"metadata": ""})
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString().replace(name, b"\xff" + name[1:]))
    for graph in (None, convolution()):
        with pytest.raises(WeightsError, match=r"is not a whole ONNX file \(a name is no text\)"):
            read_onnx(tmp_path / "x.onnx", graph)


def test_a_path_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_onnx(tmp_path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_onnx(tmp_path / "absent.onnx")


def test_a_file_cut_at_every_tenth_is_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    whole = proto(graph).SerializeToString()
    path = tmp_path / "model.onnx"
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        for wanted in (graph, None):
            with pytest.raises(WeightsError, match="is not a whole ONNX file"):
                read_onnx(path, wanted)


def test_flipped_bytes_are_refused_or_do_no_harm(tmp_path: Path) -> None:
    """Nothing but a WeightsError of one line ever comes; outside of the weights' own bytes, most are told."""
    graph = small_resnet()
    rng = random.Random(5)
    told = lines = 0
    for model in (proto(graph), anonymous(proto(graph))):
        whole = model.SerializeToString()
        for _ in range(80):
            broken = bytearray(whole)
            broken[rng.randrange(len(whole) // 3)] ^= 1 << rng.randrange(8)
            (tmp_path / "x.onnx").write_bytes(broken)
            try:
                read_onnx(tmp_path / "x.onnx", graph)
            except WeightsError as error:
                told += 1
                lines = max(lines, str(error).count("\n") + 1)
    assert lines == 1
    assert told > 50


def test_reading_holds_little_more_than_the_file(tmp_path: Path) -> None:
    graph = Builder(64, 8, 8).add("conv", "conv2d", channels=1024, kernel=3).graph()
    path = tmp_path / "x.onnx"
    OnnxBackend().write(model_of(graph, random_arrays(graph)), graph, path)
    read_onnx(path, graph)
    tracemalloc.start()
    read_onnx(path, graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * os.path.getsize(path)


# -- constants ---------------------------------------------------------------------------------------------------


def test_a_constant_node_is_a_constant() -> None:
    held = constants.evaluate(helper.make_node("Constant", [], ["c"], value_ints=[1, 2]), [], 17)
    assert isinstance(held, constants.Constant)
    assert (held.array.tolist(), held.names) == ([1, 2], ())
    weight = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(KERNEL))
    held = constants.evaluate(weight, [], 17)
    assert isinstance(held, constants.Constant)
    assert np.array_equal(held.array, KERNEL)
    assert held.names == ("c",)


def test_weights_in_constant_nodes_are_found_by_place(tmp_path: Path) -> None:
    weight = helper.make_node("Constant", [], ["kernel"], value=numpy_helper.from_array(KERNEL))
    model = made([weight, node("Conv", "x kernel", "y")], {})
    assert_equal(read(model, convolution(), tmp_path), {"conv.weight": KERNEL})


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_either_layout_is_read(last: bool, tmp_path: Path) -> None:
    """A gate, a pool over everything and a linear layer, as either order of axes has them."""
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("relu", "relu")
    b.add("squeeze", "global_avg_pool").add("excite", "conv2d", channels=4, kernel=1, bias=True).add("gate", "sigmoid")
    b.add("scale", "multiply", "relu", "gate").add("pool", "global_avg_pool").add("flatten", "flatten")
    graph = b.add("fc", "linear", features=2).graph()
    arrays = random_arrays(graph)
    held = {"a": arrays["conv.weight"], "b": arrays["excite.weight"], "c": arrays["excite.bias"]}
    held |= {"d": np.ascontiguousarray(arrays["fc.weight"].T), "e": arrays["fc.bias"]}
    axes, channels = ([1, 2], [1, 1, 1, 4]) if last else ([2, 3], [1, 4, 1, 1])
    there, back = ([0, 3, 1, 2], [0, 2, 3, 1]) if last else ([0, 1, 2, 3], [0, 1, 2, 3])
    held["c"] = held["c"].reshape(channels)
    nodes = [
        node("Transpose", "x", "0", perm=there),
        node("Conv", "0 a", "1"),
        node("Transpose", "1", "2", perm=back),
        node("Relu", "2", "3"),
        node("ReduceMean", "3", "4", axes=axes, keepdims=1),
        node("Transpose", "4", "5", perm=there),
        node("Conv", "5 b", "6"),
        node("Transpose", "6", "7", perm=back),
        node("Add", "7 c", "8"),
        node("Sigmoid", "8", "9"),
        node("Mul", "9 3", "10"),
        node("ReduceMean", "10", "11", axes=axes, keepdims=0),
        node("MatMul", "11 d", "12"),
        node("Add", "12 e", "y"),
    ]
    checkpoint = read(made(nodes, held, ("n", 16, 16, 3) if last else ("n", 3, 16, 16)), graph, tmp_path)
    assert_equal(checkpoint, arrays)
    assert checkpoint.remarks == (("takes images with their channels last",) if last else ())


def test_a_softmax_at_the_end_is_told(tmp_path: Path) -> None:
    b = Builder(4, 8, 8).add("pool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=3)
    bare = b.graph()
    whole = b.add("softmax", "softmax").graph()
    arrays = random_arrays(bare)
    for change in (lambda model: model, anonymous):
        assert_equal(held := read(change(proto(whole, arrays)), bare, tmp_path), arrays)
        assert held.remarks == ("ends in a softmax, which the spec lacks",)
        assert_equal(held := read(change(proto(bare, arrays)), whole, tmp_path), arrays)
        assert held.remarks == ("lacks the softmax in which the spec ends",)


def test_a_linear_layer_is_a_convolution_of_one_position(tmp_path: Path) -> None:
    b = Builder(4, 8, 8).add("pool", "global_avg_pool").add("fc", "conv2d", channels=3, kernel=1, bias=True)
    graph = b.add("flatten", "flatten").graph()
    arrays = random_arrays(graph)
    nodes = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f a b", "y", transB=1)]
    model = made(nodes, {"a": arrays["fc.weight"].reshape(3, 4), "b": arrays["fc.bias"]}, (1, 4, 8, 8))
    assert_equal(read(model, graph, tmp_path), arrays)
