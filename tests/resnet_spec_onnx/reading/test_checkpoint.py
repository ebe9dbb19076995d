"""Weights by name and by position, and which constants are not weights."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
import pytest
from onnx import ModelProto, numpy_helper

import resnet_spec
from resnet_spec.errors import WeightsError
from resnet_spec.graph import Graph
from resnet_spec.optimization.folding import fold, fold_arrays
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.reading import read_onnx
from resnet_spec_onnx.reading.checkpoint import NOT_WEIGHTS
from tests.resnet_spec_onnx.reading.files import (
    anonymous,
    assert_equal,
    convolution,
    node,
    node_of,
    proto,
    read,
    refused,
    renamed,
)
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet


def networks() -> dict[str, Callable[[], Graph]]:
    def shipped(name: str, **overrides: Any) -> Callable[[], Graph]:
        small = {"input.height": 64, "input.width": 64, "parameters.classes": 5}
        return lambda: resnet_spec.load(name, small | overrides).to_graph()

    def shallow(name: str, **overrides: Any) -> Callable[[], Graph]:
        """Without the later stages, which have nine tenths of the weights and no layer of another kind."""
        later = [*resnet_spec.load(name).data()["stages"]][2:]
        return shipped(name, **{f"stages.{stage}": None for stage in later}, **overrides)

    return {
        "plain": small_resnet,
        "folded": lambda: fold(small_resnet()),
        "dilated": shipped("resnet18", **{"parameters.output_stride": 8}),
        "preactivation": shipped("cifar/wrn_16_8"),
        "gates": shallow("timm/seresnext26t_32x4d"),
        "gates along channels": shallow("timm/ecaresnet26t"),
        "groups": shallow("timm/resnetv2_50d_gn"),
        "called twice": shipped("tutorial/resnet18"),
        "features": shallow("keras/resnet50v2", outputs="features"),
        "asymmetric": shallow("slim/resnet_v1_50"),
        "zero padding": shipped("cifar/resnet20"),
    }


@pytest.mark.parametrize("name", networks())
def test_written_weights_are_read_bit_for_bit(name: str, tmp_path: Path) -> None:
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
def test_operations_without_a_normal_form_are_read_by_name_only(name: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "std_conv2d": {"channels": 4, "kernel": 3, "epsilon": 1e-6},
        "evo_norm_s0": {"groups": 2, "epsilon": 1e-5},
        "filter_response_norm": {"epsilon": 1e-6, "threshold": True},
        "position_batch_norm": {},
    }[name]
    graph = Builder(4, 8, 8).add("a", name, **fields).graph()
    arrays = random_arrays(graph)
    model = model_of(graph, arrays).to_proto()
    # Whatever its metadata state.
    for metadata in ([*model.metadata_props], []):
        del model.metadata_props[:]
        model.metadata_props.extend(metadata)
        assert_equal(checkpoint := read(model, graph, tmp_path), arrays)
        assert checkpoint.doubt.startswith(
            "was read by names only; whether its architecture is the spec's was not checked: 'a' "
        )
    message = refused(anonymous(model), graph, tmp_path)
    assert message == (
        "its weights do not have the spec's names and cannot be found by structure: "
        f"'a' ({name}) is not compared with files"
    )


def test_without_a_graph_initializers_are_returned_unchanged(tmp_path: Path) -> None:
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


def test_a_weight_stored_once_for_two_names_has_both(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("a", "batch_norm").add("b", "batch_norm").graph()
    arrays = random_arrays(graph)
    arrays["b.weight"] = arrays["a.weight"]
    for model in (proto(graph, arrays), renamed(proto(graph, arrays), [("a.weight", "0"), ("b.bias", "1")])):
        source = model.graph.initializer[0].name
        (copy,) = [tensor for tensor in model.graph.initializer if tensor.name == "b.weight"]
        model.graph.initializer.remove(copy)
        model.graph.node.insert(0, node("Identity", source, "b.weight"))
        assert_equal(read(model, graph, tmp_path), arrays)


def test_constants_that_are_not_weights_are_counted(tmp_path: Path) -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    for change in (lambda model: model, anonymous):
        model = change(proto(graph, arrays))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "nowhere"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(7), "bn1.num_batches_tracked"))
        checkpoint = read(model, graph, tmp_path)
        assert_equal(checkpoint, arrays)
        assert checkpoint.ignored == {NOT_WEIGHTS: 2}


def test_other_widths_are_reported_as_shapes(tmp_path: Path) -> None:
    """So that another number of classes is reported as one, and can be adapted."""
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


def test_a_file_may_continue_after_the_graphs_output(tmp_path: Path) -> None:
    graph = small_resnet()
    backbone = graph.with_outputs(["layer2.0.relu3"])
    path = tmp_path / "model.onnx"
    path.write_bytes(anonymous(proto(graph)).SerializeToString())
    with pytest.raises(WeightsError, match=r"\(2 unexpected\)"):
        resnet_spec.read_weights(path, backbone)
    assert len(resnet_spec.read_weights(path, backbone, adapt=["backbone"])) == len(backbone.parameters())
    message = refused(proto(backbone), graph, tmp_path)
    assert message == "the spec has 'avgpool' (global_avg_pool) after 'layer2.0.relu3' (relu), where the file ends"


def _swap_inputs(model: ModelProto) -> None:
    """Swap two convolutions of equal shape, with their names."""
    first, second = node_of(model, "layer1.0.conv2"), node_of(model, "layer1.1.conv2")
    first.input[1], second.input[1] = second.input[1], first.input[1]


def test_names_at_other_positions_are_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    model = proto(graph)
    _swap_inputs(model)
    assert refused(model, graph, tmp_path) == (
        "'layer1.0.conv2' (conv2d) in the spec and 'layer1.0.conv2' (Conv) in the file differ in weights: "
        "[layer1.0.conv2.weight] and [layer1.1.conv2.weight]"
    )
    # Where not all have the graph's names, those that do must be at their positions.
    model = renamed(model, [("fc.weight", "0")])
    assert refused(model, graph, tmp_path) == (
        "'layer1.1.conv2.weight' is named after 'layer1.1.conv2.weight', "
        "but its position is that of 'layer1.0.conv2.weight'"
    )


def _leaky(model: ModelProto) -> None:
    """What another tool may do to a file, leaving its metadata."""
    for each in model.graph.node:
        if each.op_type == "Relu":
            each.op_type = "LeakyRelu"
            each.attribute.append(onnx.helper.make_attribute("alpha", 0.1))


def test_a_fingerprint_in_the_metadata_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend, graph, path = OnnxBackend(), small_resnet(), tmp_path / "model.onnx"
    arrays = random_arrays(graph)
    backend.write(model_of(graph, arrays), graph, path)
    assert_equal(backend.read(path, graph), resnet_spec.read_weights(path, graph, strict_graph=True))
    assert caplog.messages == []

    model = onnx.load(path)
    _leaky(model)
    onnx.save(model, path)
    resnet_spec.read_weights(path, graph)
    (message,) = caplog.messages
    assert "the spec has 'relu' (relu) where the file has 'relu' (LeakyRelu); strict_graph=True refuses" in message
    with pytest.raises(WeightsError, match="LeakyRelu"):
        resnet_spec.read_weights(path, graph, strict_graph=True)


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
def test_our_own_file_is_read_after_onnx_runtime_optimized_it(
    level: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend, graph = OnnxBackend(), resnet_spec.load("cifar/resnet20").to_graph()
    arrays = random_arrays(graph)
    backend.write(model_of(graph, arrays), graph, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])

    read = resnet_spec.read_weights(tmp_path / "optimized.onnx", fold(graph), strict_graph=True)
    for name, array in fold_arrays(graph, arrays).items():
        np.testing.assert_allclose(read[name], array, rtol=1e-5, atol=1e-6)
    assert caplog.messages == []
    with pytest.raises(WeightsError, match="folded into the convolutions before them; set 'folded: true'"):
        resnet_spec.read_weights(tmp_path / "optimized.onnx", graph)


def test_half_precision_needs_adapt_half(tmp_path: Path) -> None:
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


def _sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


def _function(model: ModelProto) -> None:
    model.functions.add(name="f", domain="ours")


def _graph_within(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="then_branch", type=5).g.SetInParent()


@pytest.mark.parametrize(
    ("change", "what"),
    [(_sparse, "sparse tensors"), (_function, "functions"), (_graph_within, "subgraphs")],
)
def test_subgraphs_functions_and_sparse_tensors_are_refused(
    change: Callable[[ModelProto], None], what: str, tmp_path: Path
) -> None:
    model = proto(convolution())
    change(model)
    for graph in (convolution(), None):
        assert refused(model, graph, tmp_path) == f"has {what}, which are not supported"


def test_reading_needs_little_more_memory_than_the_file(tmp_path: Path) -> None:
    graph = Builder(64, 8, 8).add("conv", "conv2d", channels=1024, kernel=3).graph()
    path = tmp_path / "x.onnx"
    OnnxBackend().write(model_of(graph, random_arrays(graph)), graph, path)
    read_onnx(path, graph)
    tracemalloc.start()
    read_onnx(path, graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * os.path.getsize(path)
