"""8-bit models: what the file holds, and that ONNX Runtime and OpenVINO compute each value as the reference does.

Processors without instructions for sums of 8-bit products (VNNI) add pairs of them in 16 bits, which overflow for the
largest codes. Here kernels have 7 bits, with which no sum overflows, so that tests mean the same on any processor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from resnet_spec import initialize
from resnet_spec.errors import BackendError, OutputError
from resnet_spec.graph import INPUT, Graph
from resnet_spec.optimization import optimize
from resnet_spec.quantization import (
    Grid,
    IntegerReference,
    Quantization,
    Value,
    bias_codes,
    calibrate,
    grids_of,
    kernel_codes,
)
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.execution import PROVIDERS, import_runtime
from resnet_spec_onnx.model import OnnxModel
from resnet_spec_onnx.writing import check
from tests.needs import need
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet
from tests.shipped import shipped

RUNTIMES = "onnxruntime", "openvino"
Arrays = Mapping[str, NDArray[Any]]
BACKEND = OnnxBackend()


@dataclass(frozen=True)
class Case:
    """An optimized network, its arrays, and what is quantized."""

    graph: Graph
    arrays: Arrays
    quantization: Quantization

    def model(self, outputs: Sequence[str] = ()) -> OnnxModel:
        """Its 8-bit model, perhaps with other outputs."""
        graph = self.graph.with_outputs(outputs) if outputs else self.graph
        model = BACKEND.compile_quantized(graph, self.quantization)
        check(model.skeleton)
        BACKEND.load(model, graph, self.arrays)
        return model

    def reference(self) -> IntegerReference:
        exact = BACKEND.compile(self.graph, dtype="float64")
        BACKEND.load(exact, self.graph, self.arrays)
        return IntegerReference(
            self.graph,
            self.arrays,
            self.quantization,
            lambda node, inputs: BACKEND.apply(exact, self.graph, node.name, inputs),
        )

    def images(self, count: int = 2) -> NDArray[Any]:
        return random_images(count, *self.graph.input.shape, seed=3)


def case_of(graph: Graph, arrays: Arrays, keep: Sequence[str] = (), *, reduce_range: bool = True) -> Case:
    """Calibrate a network."""
    rewriting = optimize(graph)
    optimized = rewriting.graph
    folded = {name: array.astype("float32") for name, array in rewriting.arrays(arrays).items()}

    def runner(names: Sequence[str]) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
        inner = optimized.with_outputs(names)
        model = BACKEND.compile(inner)
        BACKEND.load(model, inner, folded)
        return lambda images: BACKEND.forward(model, images)

    images = random_images(4, *graph.input.shape, seed=2)
    chosen = calibrate(graph, optimized, folded, lambda: [images], runner, keep=keep, reduce_range=reduce_range)
    return Case(optimized, folded, chosen)


@cache
def varied() -> Case:
    """Everything that is quantized: groups, dilation, padding, pools, joins, calls, and nodes that stay in float."""
    b = Builder(3, 17, 16).add("stem", "conv2d", channels=8, kernel=3, stride=2, padding="same")
    b.add("bn", "batch_norm").add("relu", "relu")
    b.add("grouped", "conv2d", channels=8, kernel=3, groups=4, dilation=2, padding=2).add("relu6", "relu6")
    b.add("pre", "batch_norm").add("pre.relu", "relu").add("pre.conv", "conv2d", channels=8, kernel=3, padding=1)
    b.add("sum", "add", "pre.conv", "relu6")
    b.add("dilated", "conv2d", channels=8, kernel=3, stride=2, dilation=2, padding="same", bias=False)
    b.add("twice", "conv2d", channels=8, kernel=1, bias=True).add("silu", "silu").add("again", "conv2d", calls="twice",
                                                                         channels=8, kernel=1, bias=True)  # fmt: skip
    b.add("max", "max_pool2d", "again", kernel=3, stride=2, padding="same")
    b.add("avg", "avg_pool2d", "again", kernel=2, stride=2, padding=0, ceil_mode=True, count_include_pad=False)
    b.add("both", "concat", "max", "avg").add("squeeze", "global_avg_pool").add(
        "fc1", "conv2d", channels=16, kernel=1, bias=True
    )
    b.add("gate", "sigmoid").add("gated", "multiply", "both", "gate")
    b.add("kept", "conv2d", channels=6, kernel=1, bias=True).add("wide", "pad_channels", before=1, after=1)
    b.add("flat", "reshape", shape=[8, 6]).add("tokens", "transpose", axes=[1, 0]).add("mlp", "linear", features=5)
    b.add("mean", "mean", axis=[0]).add("vector", "flatten").add("fc", "linear", features=4)
    graph = b.graph("fc", "gated")
    return case_of(graph, random_arrays(graph), keep=["kept"])


@cache
def resnet() -> Case:
    graph = small_resnet()
    return case_of(graph, random_arrays(graph))


@cache
def cifar() -> Case:
    graph = shipped("cifar/resnet20")
    return case_of(graph, initialize(graph))


CASES: dict[str, Callable[[], Case]] = {"varied": varied, "resnet": resnet}


def differences(
    case: Case, images: NDArray[Any], found: Arrays, reference: IntegerReference | None = None
) -> dict[str, int]:
    """Of each value on a grid, how far a runtime's codes are from the reference's, given the runtime's own inputs."""
    reference = reference or case.reference()
    values = {INPUT: reference.on_grid(INPUT, images)}
    largest: dict[str, int] = {}
    for node in case.graph.nodes:
        value = reference.value(node, [values[name] for name in node.inputs])
        if value.grid is not None and value.codes is not None:
            codes = value.grid.codes(found[node.name])
            np.testing.assert_allclose(found[node.name], value.grid.values(codes), rtol=1e-6)
            largest[node.name] = int(np.abs(codes.astype(int) - value.codes).max())
            value = Value(value.grid.values(codes), value.grid, codes)
        values[node.name] = value
    return largest


# -- what runtimes compute ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_value_of_a_network_is_within_one_code_of_the_reference(runtime: str, name: str, tmp_path: Path) -> None:
    need(runtime)
    case = CASES[name]()
    names = [name for name in grids_of(case.graph, case.quantization) if name != INPUT]
    BACKEND.write(case.model(names), case.graph.with_outputs(names), tmp_path / "x.onnx")
    opened = BACKEND.open_runtime(runtime, case.graph, tmp_path / "x.onnx", 1)
    images = case.images()
    found = dict(zip(names, opened.values(opened.run(images)), strict=True))
    largest = differences(case, images, found)
    assert len(largest) == len(names) > 10
    assert max(largest.values()) <= 1, largest


@pytest.mark.parametrize("name", CASES)
def test_a_single_node_is_within_one_code_of_the_reference(name: str) -> None:
    case = CASES[name]()
    model, values = case.model(), dict[str, Value]()
    for node_name, value in case.reference().walk(case.images()):
        values[node_name] = value
        if node_name == INPUT:
            continue
        inputs = [values[source].real.astype("float32") for source in case.graph.by_name[node_name].inputs]
        found = BACKEND.apply(model, case.graph, node_name, inputs)
        if value.grid is not None and value.codes is not None:
            assert np.abs(value.grid.codes(found).astype(int) - value.codes).max() <= 1, node_name
        else:
            np.testing.assert_allclose(found, value.real, atol=1e-5 * np.abs(value.real).max(), err_msg=node_name)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [*CASES, "cifar"])
def test_outputs_are_within_a_few_steps_of_the_reference(name: str, runtime: str, tmp_path: Path) -> None:
    need(runtime)
    case = cifar() if name == "cifar" else CASES[name]()
    images = case.images(8)
    BACKEND.write(case.model(), case.graph, tmp_path / "x.onnx")
    opened = BACKEND.open_runtime(runtime, case.graph, tmp_path / "x.onnx", 1)
    grids = grids_of(case.graph, case.quantization)
    results = (
        opened.values(opened.run(images)),
        BACKEND.forward(case.model(), images),
        case.reference().outputs(images),
    )
    for output, *found, wanted in zip(case.graph.outputs, *results, strict=True):
        for values in found:
            assert np.abs(values - wanted).max() <= 3.01 * grids[output].scale


def test_an_edited_scale_changes_what_is_computed() -> None:
    case = resnet()
    grid = case.quantization.values["layer2.0.relu3"]
    narrow = {**case.quantization.values, "layer2.0.relu3": Grid(scale=grid.scale / 4, zero_point=grid.zero_point)}
    edited = Case(case.graph, case.arrays, case.quantization.model_copy(update={"values": narrow}))
    images = case.images()
    before, after = (BACKEND.forward(one.model(), images)[0] for one in (case, edited))
    step = case.quantization.values["fc"].scale
    assert np.abs(after - before).max() > 5 * step
    assert np.abs(after - edited.reference().outputs(images)[0]).max() <= 3.01 * step


def overflowing() -> Case:
    """A convolution of 64 channels whose largest sum is that of the largest codes."""
    graph = Builder(64, 4, 4).add("x", "conv2d", channels=8, kernel=1, bias=False).graph()
    kernel = np.ones((8, 64, 1, 1), np.float32)
    grids = {INPUT: Grid(scale=1 / 256, zero_point=-128), "x": Grid(scale=0.25, zero_point=-128)}
    quantization = case_of(graph, {"x.weight": kernel}, reduce_range=False).quantization
    return Case(graph, {"x.weight": kernel}, quantization.model_copy(update={"values": grids}))


def test_sums_overflow_on_some_processors_only() -> None:
    case = overflowing()
    images = np.ones((1, 64, 4, 4), np.float32)
    wanted = case.reference().outputs(images)[0]
    assert np.unique(wanted).tolist() == [63.75]
    # 255 · 127 + 255 · 127 in 16 bits is 32767: 32 such pairs instead of 64 products of 255 · 127.
    saturated = 32 * 32767 / 127 / 256
    found = BACKEND.forward(case.model(), images)[0]
    assert np.abs(found - wanted).max() == 0 or np.abs(found - saturated).max() <= 0.125
    # ONNX Runtime's own remedy: kernels as uint8, at another speed.
    exact = session(case.model(), {"session.x64quantprecision": "1"})
    np.testing.assert_array_equal(exact.run(None, {INPUT: images})[0], wanted)


def session(model: OnnxModel, entries: Mapping[str, str], path: Path | None = None) -> Any:
    """A session of ONNX Runtime with these entries of its configuration, which writes what it made of the model."""
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    if path is not None:
        options.optimized_model_filepath = str(path)
    return runtime.InferenceSession(model.to_proto().SerializeToString(), options, providers=PROVIDERS)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "layers", "sums"), [(cifar, 19, 9), (resnet, 12, 3)])
def test_onnx_runtime_computes_in_integers(make: Callable[[], Case], layers: int, sums: int, tmp_path: Path) -> None:
    session(make().model(), {}, tmp_path / "x.onnx")
    counts = Counter(node.op_type for node in onnx.load(tmp_path / "x.onnx").graph.node)  # pyright: ignore[reportUnknownMemberType]
    wanted = {"QLinearConv": layers, "QLinearAdd": sums, "QGemm": 1, "QLinearGlobalAveragePool": 1}
    assert wanted.items() <= counts.items()
    # Every activation is fused; zeros are padded in float.
    assert not counts.keys() & {"Relu", "Conv", "FusedConv", "Add", "Gemm", "MaxPool", "GlobalAveragePool"}
    assert counts["DequantizeLinear"] == 1 + counts["Pad"]


def test_a_convolution_whose_padding_depends_on_the_size_is_computed_in_integers(tmp_path: Path) -> None:
    session(varied().model(), {}, tmp_path / "x.onnx")
    nodes = onnx.load(tmp_path / "x.onnx").graph.node  # pyright: ignore[reportUnknownMemberType]
    (dilated,) = (node for node in nodes if "dilated.weight" in node.input)
    assert dilated.op_type == "QLinearConv"


# -- what a file holds ----------------------------------------------------------------------------------------------


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }


def test_initializers_are_codes_and_the_model_keeps_the_float_arrays() -> None:
    case = varied()
    model = case.model()
    proto = model.to_proto()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    grids = grids_of(case.graph, case.quantization)
    for name, scales in case.quantization.kernels.items():
        np.testing.assert_array_equal(stored[name], kernel_codes(case.arrays[name], scales), strict=True)
    for layer, call in (("fc1", "fc1"), ("fc", "fc"), ("twice", "twice"), ("twice", "again")):
        source = case.graph.by_name[call].inputs[0]
        scales = grids[source].scale * np.array(case.quantization.kernels[f"{layer}.weight"])
        codes = bias_codes(case.arrays[f"{layer}.bias"], scales).astype(np.int32)
        np.testing.assert_array_equal(stored[f"{call}.bias"], codes, strict=True)
        np.testing.assert_array_equal(constants(proto)[f"{call}.bias.scale"], scales.astype("float32"), strict=True)
    assert stored["kept.weight"].dtype == stored["kept.bias"].dtype == np.float32
    arrays = BACKEND.arrays(model, case.graph)
    assert list(arrays) == [parameter.name for parameter in case.graph.parameters()]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, case.arrays[name], strict=True)


def test_each_value_on_a_grid_is_read_from_dequantize_linear() -> None:
    case = varied()
    op_types = {node.name: node.op_type for node in case.model().skeleton.graph.node}
    for name in grids_of(case.graph, case.quantization):
        assert op_types[name] == "DequantizeLinear"
    assert op_types["max.maxpool"] == "MaxPool"
    assert op_types["silu.quantizelinear"] == "QuantizeLinear"


def test_metadata_holds_the_quantization(tmp_path: Path) -> None:
    case = varied()
    BACKEND.write(case.model(), case.graph, tmp_path / "x.onnx", batch=2)
    model = onnx.load(tmp_path / "x.onnx")  # pyright: ignore[reportUnknownMemberType]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert Graph.from_json(metadata["resnet_spec.graph"]) == case.graph
    assert Quantization.model_validate_json(metadata["resnet_spec.quantization"]) == case.quantization
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 17, 16]


def test_there_is_no_form_in_half_or_double_precision(tmp_path: Path) -> None:
    case = resnet()
    with pytest.raises(OutputError, match="8-bit network has no form in half precision"):
        BACKEND.write(case.model(), case.graph, tmp_path / "x.onnx", half=True)
    with pytest.raises(BackendError, match="8-bit networks in float32, not in float64"):
        BACKEND.compile_quantized(case.graph, case.quantization, dtype="float64")


def test_without_zero_points_the_file_has_what_tensorrt_accepts() -> None:
    case = resnet()
    values = {name: Grid(scale=grid.scale * 2, zero_point=0) for name, grid in case.quantization.values.items()}
    symmetric = Case(case.graph, case.arrays, case.quantization.model_copy(update={"values": values}))
    proto = symmetric.model().to_proto()
    zeros = {name: array for name, array in constants(proto).items() if name.endswith(".zero_point")}
    assert {array.dtype.name for array in zeros.values()} == {"int8"}
    assert not any(array.any() for array in zeros.values())
    images = case.images()
    wanted, found = symmetric.reference().outputs(images)[0], BACKEND.forward(symmetric.model(), images)[0]
    assert np.abs(found - wanted).max() <= 3.01 * values["fc"].scale


def test_an_input_that_is_an_output_is_rounded_too() -> None:
    graph = (
        Builder(3, 4, 4)
        .add("drop", "dropout", rate=0.5)
        .add("x", "conv2d", "input", channels=2, kernel=1)
        .graph("x", "drop")
    )
    case = case_of(graph, random_arrays(graph))
    images = case.images()
    np.testing.assert_allclose(
        BACKEND.forward(case.model(), images)[1], case.quantization.values[INPUT].rounded(images), rtol=1e-6
    )
