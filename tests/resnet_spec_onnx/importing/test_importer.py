"""Whole models: what this package writes, torch's exports, other layouts, sizes and types, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

import resnet_spec
from resnet_spec.backend import GraphBuilder
from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import ModelError
from resnet_spec.graph import INPUT, Graph, Input
from resnet_spec.operations import AvgPool, Category, Conv, ConvTranspose, MaxPool
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.reading.constant_folding import MAX_ELEMENTS
from resnet_spec_torch import TorchBackend
from tests.needs import need
from tests.resnet_spec_onnx.importing.models import MODELS, exported, made
from tests.resnet_spec_onnx.reading.files import KERNEL, anonymous, node, node_of, pads, proto, set_attribute
from tests.resnet_spec_onnx.reading.files import made as file_of
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_onnx.test_networks import NETWORKS, NOT_SHIPPED, small
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet
from tests.shipped import SAMPLE, slow_unless

GRAPHS: dict[str, Callable[[], Graph]] = {name: lambda name=name: small(name) for name in NETWORKS} | {
    path.stem: lambda path=path: resnet_spec.load(path).to_graph() for path in NOT_SHIPPED
}
NAMES = slow_unless(SAMPLE | {path.stem for path in NOT_SHIPPED} | {"timm/resnest14d"}, [*GRAPHS])

OTHER_ORDER = {"attention", "normalizations", "timm/resnet50_clip"}
"""Networks with transposes and reshapes that are read after what the file has after them, with the same result."""

TRANSPOSED = {"head.pos_embed"}
"""Learned values that such a transpose is read after, and are then read transposed."""

GAINS = {"timm/nf_regnet_b0", "timm/nf_resnet26"}
"""Networks whose learned gains are read with the constant that multiplies them, which names alone would tell apart."""


def imported(model: Path | ModelProto, shape: tuple[int, ...] | None = None) -> SourceModel:
    return OnnxBackend().import_model(model, shape)


def refused(model: Path | ModelProto, shape: tuple[int, ...] | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        imported(model, shape)
    return str(caught.value)


def error_of(source: SourceModel, batch: int = 3) -> float:
    """The largest difference of the torch backend's float32 from the source's own, in standard deviations of it."""
    images = np.random.default_rng(0).standard_normal((batch, *source.graph.input.shape)).astype(np.float32)
    backend = TorchBackend()
    model = backend.compile(source.graph)
    backend.load(model, source.graph, source.arrays)
    pairs = [*zip(source.run(images), backend.forward(model, images), strict=True)]
    assert all(own.shape == ours.shape for own, ours in pairs)
    return max(float(np.abs(own - ours).max() / own.std()) for own, ours in pairs)


def in_inference(graph: Graph) -> Counter[Any]:
    """What a file without metadata states of a graph: each operation's words and what it depends on.

    Not what only training depends on, nor which of two equal ways a padding, a part, a resize or a chain of reshapes is
    stated in.
    """
    values: dict[str, str] = {INPUT: "input"}
    # What each reshape reads before all reshapes; those that only others read are not counted.
    reshaped: dict[str, str] = {}
    uncounted: set[str] = set()
    for each in graph.nodes:
        op: Any = each.operation
        if op.category is Category.REGULARIZATION:
            values[each.name] = values[each.inputs[0]]
            continue
        fields = op.model_dump() | dict(op.training_fields)
        fields.pop("initial", None)
        reads = each.inputs
        if isinstance(op, Conv | MaxPool | AvgPool):
            fields |= {"padding": op.fixed_padding or op.padding, "ceil_mode": None}
        elif isinstance(op, ConvTranspose):
            fields["padding"] = op.crop
        elif op.op == "multiply":
            # A file states it in float32.
            fields["factor"] = float(np.float32(op.factor))
        elif op.op == "slice":
            fields = {"op": "slice", "axis": op.axis, "bounds": op.bounds(graph.input_shapes(each)[0][op.axis])}
        elif op.op == "resize":
            fields |= {"scale": None, "size": each.shape[1:], "like": False}
            reads = reads[:1]
        elif op.op in ("flatten", "reshape"):
            uncounted |= {*reads} & reshaped.keys()
            source = reshaped[each.name] = reshaped.get(reads[0], reads[0])
            if each.shape == (graph.by_name[source].shape if source != INPUT else graph.input.shape):
                values[each.name] = values[source]
                uncounted.add(each.name)
                continue
            fields, reads = {"op": "reshape"}, (source,)
        elif op.op == "parameter":
            reads = ()
        again = bool(each.calls and op.parameters(*graph.input_shapes(each)))
        depends = repr((sorted(fields.items()), [values[name] for name in reads], each.shape, again))
        values[each.name] = sha256(depends.encode()).hexdigest()
    outputs = [values[name] for name in graph.outputs]
    uncounted |= {each.name for each in graph.nodes if each.operation.category is Category.REGULARIZATION}
    own = [values[each.name] for each in graph.nodes if each.name not in uncounted]
    return Counter([*own, *(f"output {index}: {value}" for index, value in enumerate(outputs))])


# ---------------------------------------------------------------------------------------------------------------
# What this package writes


@pytest.mark.parametrize("name", NAMES)
def test_a_written_file_is_the_graph_that_it_was_written_from(name: str) -> None:
    graph = GRAPHS[name]()
    arrays = random_arrays(graph)
    source = imported(model_of(graph, arrays).to_proto())
    assert source.graph == graph
    assert source.arrays.keys() == arrays.keys()
    assert all(np.array_equal(source.arrays[key], array) for key, array in arrays.items())
    assert source.remarks == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_written_file_is_read_from_its_nodes(name: str) -> None:
    graph = GRAPHS[name]()
    arrays = random_arrays(graph)
    model = proto(graph, arrays)
    source = imported(model, graph.input.shape)
    if name not in OTHER_ORDER:
        assert in_inference(source.graph) == in_inference(graph)
    assert source.named
    assert source.arrays.keys() == arrays.keys()
    wanted = {key: array.T if key in TRANSPOSED else array for key, array in arrays.items()}
    assert all(np.array_equal(source.arrays[key], array) for key, array in wanted.items())
    assert error_of(source) < 1e-4


def test_a_norm_of_each_position_may_have_more_numbers_than_are_evaluated() -> None:
    builder = GraphBuilder("positions", Input(channels=1400, height=7, width=7))
    fields = {"epsilon": 1e-6, "momentum": 0.1, "running_variance": "biased"}
    graph = builder.finish([builder.add("position_batch_norm", [builder.input], "norm", layer=True, **fields)])
    assert MAX_ELEMENTS < 1400 * 7 * 7
    source = imported(proto(graph, random_arrays(graph)), graph.input.shape)
    assert in_inference(source.graph) == in_inference(graph)


def test_a_gain_has_the_usual_constant() -> None:
    graph = GRAPHS["normalizations"]()
    source = imported(proto(graph, random_arrays(graph)), graph.input.shape)
    found = [each.operation.gamma for each in source.graph.nodes if each.operation.op == "std_conv2d"]
    # A file has its product with another number, in float32.
    assert found == [each.operation.gamma for each in graph.nodes if each.operation.op == "std_conv2d"]


def contents_of(arrays: Mapping[str, NDArray[Any]]) -> Counter[bytes]:
    return Counter(array.tobytes() for array in arrays.values())


@pytest.mark.parametrize("name", slow_unless({"torchvision/resnet18", "tutorial/resnet18"}, [*GRAPHS]))
def test_names_are_not_needed(name: str) -> None:
    graph = GRAPHS[name]()
    arrays = random_arrays(graph)
    model = anonymous(proto(graph, arrays))
    for each in model.graph.node:
        each.name = ""
    model.producer_name = ""
    source = imported(model, graph.input.shape)
    if name not in OTHER_ORDER | GAINS:
        assert in_inference(source.graph) == in_inference(graph)
    assert not source.named
    if name in OTHER_ORDER | GAINS:
        # Without names a factor may be in another layer's array.
        assert error_of(source) < 1e-4
    else:
        assert contents_of(source.arrays) == contents_of(arrays)


def test_a_file_that_was_changed_after_it_was_written_is_read_from_its_nodes() -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph)).to_proto()
    set_attribute(node_of(model, "layer1.0.bn1"), "epsilon", 1e-3)
    source = imported(model, graph.input.shape)
    operation: Any = source.graph.by_name["layer1.0.bn1"].operation
    assert operation.epsilon == 1e-3
    assert source.graph.scopes == ()


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    graph = small_resnet()
    path = tmp_path / "half.onnx"
    backend = OnnxBackend()
    backend.write(model_of(graph, random_arrays(graph)), graph, path, half=True)
    source = imported(path)
    assert source.graph == graph
    assert {array.dtype for array in source.arrays.values()} == {np.dtype(np.float32)}
    assert error_of(source) < 1e-4


def test_what_training_depends_on_is_read_where_the_file_states_it() -> None:
    graph = Builder().add("bn", "batch_norm", momentum=0.01).graph()
    operation: Any = imported(proto(graph)).graph.nodes[0].operation
    assert (operation.momentum, operation.epsilon) == (0.01, 1e-5)


# ---------------------------------------------------------------------------------------------------------------
# torch's exporters

EXPORTS = {
    "opset 11": {"opset_version": 11},
    "opset 13": {"opset_version": 13},
    "opset 17": {"opset_version": 17},
    "opset 20": {"opset_version": 20},
    "not folded": {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE},
    "any batch": {"input_names": ["x"], "dynamic_axes": {"x": [0]}},
    "dynamo": {"dynamo": True},
}


@pytest.mark.parametrize("options", EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("name", MODELS)
def test_exports_of_torch_are_read(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    if "dynamo" in options:
        need("onnxscript")
    model = made(name)
    source = imported(exported(model, tmp_path / "model.onnx", **options))
    assert source.named
    assert error_of(source) < 1e-5
    own = dict(model.state_dict())
    folded = "dynamo" in options or "training" not in options
    for key, array in source.arrays.items() if not folded else ():
        if key in own:
            assert np.array_equal(array, own[key].numpy().reshape(array.shape)), key
    known = own.keys() | {"scale", "offset"} | {f"{key.removesuffix('weight')}bias" for key in own}
    assert source.arrays.keys() <= known


def test_modules_give_the_names(tmp_path: Path) -> None:
    source = imported(exported(made("blocks"), tmp_path / "model.onnx"))
    assert [each.name for each in source.graph.nodes][-11:] == [
        "blocks.0.add",
        "blocks.0.relu2",
        "blocks.1.conv1",
        "blocks.1.relu1",
        "blocks.1.conv2",
        "blocks.1.shortcut.0",
        "blocks.1.add",
        "blocks.1.relu2",
        "avgpool",
        "flatten",
        "fc",
    ]


def test_a_module_that_standardizes_its_kernel_is_recognized(tmp_path: Path) -> None:
    class Standardized(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            flat = self.weight.reshape(1, self.out_channels, -1)
            kernel = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
            return F.conv2d(input, kernel, self.bias, self.stride, self.padding)

    model = nn.Sequential(Standardized(3, 8, 3, 2, 1), nn.ReLU()).eval()
    source = imported(exported(model, tmp_path / "model.onnx"))
    operation: Any = source.graph.nodes[0].operation
    assert (operation.op, operation.epsilon, operation.gain, source.graph.nodes[0].name) == (
        "std_conv2d",
        1e-6,
        False,
        "0",
    )
    assert np.array_equal(source.arrays["0.weight"], model.state_dict()["0.weight"].numpy())
    assert error_of(source) < 1e-5


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("filter_response_norm", {"threshold": True}),
        ("evo_norm_s0", {"groups": 2}),
        ("evo_norm_s0", {"groups": 2, "gate": False}),
    ],
)
def test_a_formula_as_torch_writes_it_is_one_operation(op: str, fields: dict[str, Any], tmp_path: Path) -> None:
    build = Builder(3, 9, 9).add("conv", "conv2d", channels=4, kernel=3)
    graph = build.add("norm", op, epsilon=1e-4, **fields).graph()
    backend = TorchBackend()
    model = backend.compile(graph)
    backend.load(model, graph, random_arrays(graph))
    source = imported(exported(model, tmp_path / "model.onnx", 9))
    assert in_inference(source.graph) == in_inference(graph)
    assert error_of(source) < 1e-5


def test_zeros_before_a_max_pool_count_where_the_runtime_would_fuse_them(tmp_path: Path) -> None:
    """ONNX Runtime makes a pad of zeros a part of the pool, where they are minus infinity."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)).eval()
    nn.init.constant_(model[0].bias, -10.0)
    source = imported(exported(model, tmp_path / "model.onnx"))
    assert [each.operation.op for each in source.graph.nodes] == ["conv2d", "pad2d", "max_pool2d"]
    assert error_of(source) < 1e-5


def test_one_over_a_value_is_refused() -> None:
    nodes = [node("Conv", "x kernel", "c"), node("Div", "one c", "y")]
    arrays = {"kernel": KERNEL, "one": np.ones((), np.float32)}
    assert "divides a constant by a value" in refused(file_of(nodes, arrays))


def test_another_kernel_that_is_computed_is_refused() -> None:
    nodes = [node("Exp", "kernel", "k"), node("Conv", "x k", "y")]
    wanted = "'y' (Conv): has a kernel that is computed from weights in a way that is not supported"
    assert refused(file_of(nodes, {"kernel": KERNEL})) == wanted


@pytest.mark.parametrize("epsilon", [1e-3, 1e-6])
@pytest.mark.parametrize("gain", [False, True])
def test_the_fields_of_a_standardized_kernel_are_found(epsilon: float, gain: bool) -> None:
    fields: dict[str, Any] = {
        "channels": 4,
        "kernel": 3,
        "epsilon": epsilon,
        "gain": gain,
        "gamma": 1.5 if gain else 1.0,
    }
    graph = Builder().add("conv", "std_conv2d", **fields).graph()
    source = imported(proto(graph), (3, 16, 16))
    assert in_inference(source.graph) == in_inference(graph)


def test_a_layer_called_twice_is_one_layer(tmp_path: Path) -> None:
    graph = imported(exported(made("gated"), tmp_path / "model.onnx")).graph
    assert [each.calls for each in graph.nodes if each.name.startswith("shared")] == [None, "shared"]


# ---------------------------------------------------------------------------------------------------------------
# Layouts, sizes and batches


def channels_last(*shape: Any) -> ModelProto:
    """Maps in TensorFlow's layout: transposed before a convolution and back, flattened in that layout."""
    arrays = {
        "kernel": KERNEL,
        "dense": np.random.default_rng(3).standard_normal((6 * 5 * 4, 7)).astype(np.float32),
        "flat": np.array([-1, 6 * 5 * 4], np.int64),
        "third": np.array([1, 1, 4], np.float32) / 3,
    }
    nodes = [
        node("Transpose", "x", "first", perm=[0, 3, 1, 2]),
        node("Conv", "first kernel", "conv", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Transpose", "conv", "last", perm=[0, 2, 3, 1]),
        node("Relu", "last", "maps"),
        node("Reshape", "maps flat", "flattened"),
        node("MatMul", "flattened dense", "y"),
    ]
    model = file_of(nodes, arrays, shape)
    model.graph.output.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, None))
    return model


@pytest.mark.parametrize("shape", [("n", 12, 10, 3), (2, 12, 10, 3)])
def test_channels_last_files_are_read_channels_first(shape: tuple[Any, ...]) -> None:
    source = imported(channels_last(*shape))
    assert source.graph.input.shape == (3, 12, 10)
    assert [each.operation.op for each in source.graph.nodes] == ["conv2d", "relu", "transpose", "flatten", "linear"]
    assert [source.graph.by_name[name].shape for name in source.graph.outputs] == [(7,), (4, 6, 5)]
    assert source.remarks == ("takes channels-last images",)
    assert error_of(source, batch=5) < 1e-5


def test_a_batch_of_another_size_is_run_in_parts() -> None:
    graph = Builder().add("conv", "conv2d", channels=4, kernel=3).graph()
    model = proto(graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    source = imported(model, (3, 16, 16))
    assert error_of(source, batch=1) < 1e-5
    assert error_of(source, batch=9) < 1e-5


def test_a_model_of_any_size_is_read_at_the_size_that_is_given() -> None:
    graph = small_resnet()
    model = proto(graph)
    assert imported(model, (3, 64, 48)).graph.input.shape == (3, 64, 48)
    source = imported(model)
    assert source.graph.input.shape == (3, 224, 224)
    assert source.remarks == (
        "accepts images of any size; it was read at 3×224×224, unless you give its input's shape",
    )


def test_what_other_sizes_change_is_remarked() -> None:
    graph = Builder().add("flatten", "flatten").add("fc", "linear", features=2).graph()
    model = proto(graph)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.ClearField("dim_value")
    source = imported(model, (3, 16, 16))
    assert source.remarks == ("was read at 3×16×16 only: at other sizes it is another network, or none",)


@pytest.mark.parametrize("shape", [(3, 64, 64), (4, 32, 32), (3,)])
def test_a_shape_that_is_not_the_models_is_refused(shape: tuple[int, ...]) -> None:
    graph = small_resnet()
    model = proto(graph)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 32
    wanted = "×".join(map(str, shape))
    assert refused(model, shape) == f"the model: its input is 3×32×32, not {wanted}"


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("fields", [{"dilation": 2}, {"kernel": 1}, {}])
def test_same_is_read_where_pads_depend_on_the_size(size: tuple[int, int], fields: dict[str, Any]) -> None:
    fields = {"channels": 4, "kernel": 3, "stride": 2, "padding": "same"} | fields
    graph = Builder(3, *size).add("a", "conv2d", **fields).add("b", "max_pool2d", kernel=3, stride=4, padding="same")
    source = imported(proto(graph.graph()), (3, *size))
    assert in_inference(source.graph) == in_inference(graph.graph())


def test_a_global_pool_of_a_single_position_stays() -> None:
    graph = Builder(3, 1, 1).add("pool", "global_avg_pool").add("flatten", "flatten").graph()
    model = proto(graph)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 1
    assert [each.name for each in imported(model).graph.nodes] == ["pool", "flatten"]


# ---------------------------------------------------------------------------------------------------------------
# Constants

VECTOR = np.array([0.5, 2.0, 3.0, 4.0], np.float32).reshape(4, 1, 1)
CONSTANTS = {
    "kernel": KERNEL,
    "a": VECTOR,
    "b": VECTOR + 1,
    "net.alpha": np.array(0.5, np.float32),
    "net.gamma": VECTOR,
    "map": np.arange(4 * 14 * 14, dtype=np.float32).reshape(4, 14, 14),
}


@pytest.mark.parametrize(
    ("nodes", "ops"),
    [
        ([node("Mul", "c a", "d"), node("Add", "d b", "y")], ["conv2d"]),
        (
            [node("Sub", "c a", "d"), node("Div", "d b", "e"), node("Mul", "e a", "f"), node("Add", "f b", "y")],
            ["conv2d"],
        ),
        ([node("Add", "c b", "y")], ["conv2d"]),
        ([node("Mul", "c net.gamma", "y")], ["conv2d", "scale"]),
        ([node("Mul", "net.alpha c", "y")], ["conv2d", "scale"]),
        ([node("Add", "c b", "d"), node("Mul", "d a", "y")], ["conv2d", "scale"]),
        (
            [node("Relu", "c", "d"), node("Mul", "d a", "e"), node("Sub", "e b", "y")],
            ["conv2d", "relu", "scale", "offset"],
        ),
        ([node("Add", "map c", "y")], ["conv2d", "offset"]),
        ([node("Div", "c net.alpha", "d"), node("Add", "c d", "y")], ["conv2d", "scale", "add"]),
    ],
)
def test_constants_are_folded_normalizations_biases_or_layers(nodes: list[Any], ops: list[str]) -> None:
    source = imported(file_of([node("Conv", "x kernel", "c"), *nodes], CONSTANTS))
    assert [each.operation.op for each in source.graph.nodes] == ops
    assert error_of(source) < 1e-5


def test_a_normalized_input_is_two_layers() -> None:
    arrays = {"kernel": KERNEL, "mean": VECTOR[:3], "std": VECTOR[1:]}
    nodes = [node("Sub", "x mean", "a"), node("Div", "a std", "b"), node("Conv", "b kernel", "y")]
    source = imported(file_of(nodes, arrays))
    assert [each.operation.op for each in source.graph.nodes] == ["offset", "scale", "conv2d"]
    # A checkpoint of the source has the array itself.
    assert np.allclose(source.arrays["offset"], -VECTOR[:3, 0, 0])
    assert source.remarks == ("has constants where the graph has learned layers: offset, scale",)
    assert error_of(source) < 1e-5


# ---------------------------------------------------------------------------------------------------------------
# What is refused


def test_every_node_that_the_language_lacks_is_reported(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x kernel", "c"),
        node("Cos", "c", "cosine"),
        node("Relu", "cosine", "after"),
        node("Clip", "c low high", "clipped"),
        node("Add", "after clipped", "y"),
    ]
    low, high = np.array(-1, np.float32), np.array(1, np.float32)
    message = refused(file_of(nodes, {"kernel": KERNEL, "low": low, "high": high}))
    assert message.splitlines() == [
        "'cosine' (Cos): is an operator that is not supported",
        "'clipped' (Clip): limits values to -1 and 1; of bounds only relu and relu6 exist",
    ]


def test_the_users_line_is_named() -> None:
    cosine = node("Cos", "x", "y")
    for key, value in (
        ("name_scopes", "['', 'stem', 'cos']"),
        (
            "stack_trace",
            'File "net.py", line 7, in forward\n    x = self.stem(x)\n  File "/site-packages/a.py", line 1',
        ),
    ):
        cosine.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=value)
    assert refused(file_of([cosine], {})) == "'y' (Cos) at net.py:7: is an operator that is not supported"


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", "z", "y"), node("Relu", "y", "z")], "the model: 'y' (Relu) reads 'z' before a node computes it"),
        ([node("Relu", "x", "z"), node("Relu", "x", "z"), node("Relu", "z", "y")], "computes 'z' a second time"),
        ([node("Relu", "x", "z")], "the model: no node computes its output 'y'"),
        ([node("Shape", "x", "y")], "'y' (output): does not depend on the input"),
        ([node("Identity", "x", "y")], "no operation computes its output"),
        (
            [node("BatchNormalization", "x v v v v", "y", training_mode=1)],
            "has an unsupported value of 'training_mode'",
        ),
        ([node("Transpose", "x", "y", perm=[1, 0, 2, 3])], "whose axes are not batch, channels and positions"),
        (
            [node("If", "x", "y", then_branch=file_of([], {}).graph)],
            "the model: has subgraphs, which are not supported",
        ),
    ],
)
def test_invalid_models_are_refused(nodes: list[Any], message: str) -> None:
    assert message in refused(file_of(nodes, {"v": np.ones(3, np.float32)}, (2, 3, 16, 16)))


@pytest.mark.parametrize("op_type", ["Conv", "Sub", "Div", "Mul", "MatMul", "Gemm", "Pow", "Clip", "PRelu", "Add"])
def test_a_node_without_its_inputs_is_refused(op_type: str) -> None:
    assert refused(file_of([node(op_type, "x", "y")], {})).startswith("'y' (")


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (70_000, "the model: it has 70001 nodes; at most 65536 are supported"),
        (1_000_000, "the model cannot be read: is not a complete ONNX file (it has more than 262144 nodes and values)"),
    ],
)
def test_a_million_nodes_are_refused(count: int, message: str) -> None:
    model = file_of([node("Relu", "x", "y")], {})
    model.graph.node.extend([node("Relu", "x", "z")] * count)
    assert refused(model) == message


def test_an_input_of_five_sizes_is_refused() -> None:
    message = refused(file_of([node("Relu", "x", "y")], {}, (1, 3, 4, 4, 4, 4)))
    assert message == "the model: its input has 6 axes; two to five are supported, of which the first is the batch"


def test_sizes_beyond_the_language_are_refused() -> None:
    model = file_of([node("Relu", "x", "y")], {}, (1, 3, 2**30, 2**30))
    assert "its input is [3, 1073741824, 1073741824]" in refused(model)
    message = "the model: its batch is fixed at 1073741824 images; at most 1024 are supported"
    assert refused(file_of([node("Relu", "x", "y")], {}, (2**30, 3, 16, 16))) == message
    assert "has pads [70000, 0, 0, 0]" in refused(
        file_of([node("Conv", "x kernel", "y", pads=[70_000, 0, 0, 0])], {"kernel": KERNEL})
    )
    assert "padding" in refused(file_of([node("Pad", "x pads", "y")], pads(0, 0, 60_000, 0, 0, 0, 0, 0)), (3, 16, 16))


def test_a_name_that_no_node_can_have_is_changed() -> None:
    strange = {f"{'a' * 300}.weight": KERNEL}
    source = imported(file_of([node("Conv", f"x {'a' * 300}.weight", "y")], strange))
    assert [each.name for each in source.graph.nodes] == ["conv"]
    assert not source.named


def test_files_that_are_not_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert refused(path) == f"{path}: cannot be read (No such file or directory)"
    path.write_bytes(b"\x08\x07\xff")
    assert "is not a complete ONNX file" in refused(path)


def external(folder: Path, location: str) -> Path:
    """A file whose kernel is in another file."""
    model = file_of([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model").mkdir()
    path = folder / "model" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_are_read(tmp_path: Path) -> None:
    path = external(tmp_path, "kernel.bin")
    (path.parent / "kernel.bin").write_bytes(KERNEL.tobytes())
    assert error_of(imported(path)) < 1e-5


def test_external_data_outside_the_folder_are_refused(tmp_path: Path) -> None:
    path = external(tmp_path, "../kernel.bin")
    (tmp_path / "kernel.bin").write_bytes(KERNEL.tobytes())
    assert refused(path) == (f"{path}: kernel: refused: its data file '../kernel.bin' is outside the model's folder")


def test_metadata_of_another_graph_do_not_count() -> None:
    graph = Builder().add("conv", "conv2d", channels=4, kernel=3).graph()
    model = model_of(graph, random_arrays(graph)).to_proto()
    for text in ("{", "[" * 100_000, graph.to_json().replace('"kernel":[3,3]', '"kernel":[1,1]')):
        for entry in model.metadata_props:
            if entry.key == "resnet_spec.graph":
                entry.value = text
        assert in_inference(imported(model, (3, 16, 16)).graph) == in_inference(graph)


def test_arrays_are_laid_out_as_the_graph_states(tmp_path: Path) -> None:
    transposed: NDArray[np.float32] = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    source = imported(file_of([node("MatMul", "x dense", "y")], {"dense": transposed}, ("n", 3)))
    assert np.array_equal(source.arrays["fc.weight"], transposed.T)
    assert error_of(source) < 1e-5


def test_a_double_model_is_run_in_double() -> None:
    model = file_of([node("Gemm", "x dense", "y", transB=1)], {"dense": np.ones((5, 3))}, ("n", 3))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    source = imported(model)
    (result,) = source.run(np.ones((2, 3), np.float32))
    assert result.dtype == np.float64


def test_the_checker_accepts_the_files_of_these_tests() -> None:
    model = channels_last("n", 12, 10, 3)
    for output, shape in zip(model.graph.output, (["n", 7], ["n", 6, 5, 4]), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]
