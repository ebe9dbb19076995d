"""One emitter per operation: each against NumPy or the torch backend, in both dtypes, at even and odd sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec.errors import BackendError
from resnet_spec.operations import OPERATIONS
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.emitting.emitters import EMITTERS, emits
from tests.resnet_spec_onnx.support import assert_as_torch, nodes, run, single
from tests.resnet_spec_torch.graphs import NORM, Builder, random_images

MAPS = (2, 4, 7, 8), (1, 4, 8, 5), (3, 4, 9, 9)

# -- the table ---------------------------------------------------------------------------------------------------


def test_every_operation_has_an_emitter_and_every_emitter_an_operation() -> None:
    assert set(EMITTERS) == set(OPERATIONS)


def test_a_second_emitter_is_refused() -> None:
    with pytest.raises(ValueError, match="relu has two emitters"):
        emits("relu")(lambda: "")


def test_an_operation_without_an_emitter_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EMITTERS, "relu")
    with pytest.raises(BackendError, match=r"^x: the onnx backend has no relu$"):
        OnnxBackend().compile(single("relu", 3, 4, 4))


# -- convolutions and linear layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["conv2d", "std_conv2d"])
@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], [[2, 0], [0, 3]], "same"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 2), ([1, 3], [2, 1])])
def test_convolutions(op: str, padding: Any, stride: Any, dilation: Any) -> None:
    fields = {"channels": 6, "kernel": [3, 2], "stride": stride, "dilation": dilation, "groups": 2, "bias": True}
    if op == "std_conv2d":
        fields["epsilon"] = 1e-6
    assert_as_torch(single(op, 4, 9, 9, padding=padding, **fields), *MAPS)


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_a_standardized_kernel_has_mean_0_and_variance_1(epsilon: float) -> None:
    kernel = 3 * random_images(6, 2, 3, 3).astype(np.float64) + 1
    rows = kernel.reshape(6, -1)
    wanted = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + epsilon)
    # A window on a map of nothing but one 1 is the kernel itself, turned round.
    image = np.zeros((1, 2, 5, 5))
    for channel in (0, 1):
        image[:] = 0
        image[0, channel, 2, 2] = 1
        result = run("std_conv2d", image, {"weight": kernel}, channels=6, kernel=3, epsilon=epsilon)
        np.testing.assert_allclose(result[0, :, ::-1, ::-1], wanted.reshape(kernel.shape)[:, channel], atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, [2, 5]])
@pytest.mark.parametrize("stride", [1, 2, 3, [3, 2]])
@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], [[2, 1], [0, 2]], "same"])
def test_transposed_convolutions(kernel: Any, stride: Any, padding: Any) -> None:
    graph = single("conv_transpose2d", 3, 6, 7, channels=2, kernel=kernel, stride=stride, padding=padding, bias=True)
    assert_as_torch(graph, (2, 3, 6, 7), (1, 3, 9, 5))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_conv1d(padding: int, bias: bool) -> None:
    b = Builder(6, 1, 1).add("reshape", "reshape", shape=[2, 3])
    graph = b.add("x", "conv1d", channels=2, kernel=3, padding=padding, bias=bias).graph()
    assert_as_torch(graph, (2, 6, 1, 1))


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    assert_as_torch(single("linear", 5, features=3, bias=bias), (4, 5), (1, 5))


# -- normalizations and activations ------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_normalizations(op: str, scale: bool, offset: bool) -> None:
    graph = single(op, 4, 3, 5, scale=scale, offset=offset)
    assert_as_torch(graph, (2, 4, 3, 5), (1, 4, 3, 5))


def test_the_epsilon_of_a_batch_normalization_counts() -> None:
    arrays = {"weight": [1.0], "bias": [0.0], "running_mean": [0.0], "running_var": [0.0]}
    given = {name: np.array(values) for name, values in arrays.items()}
    result = run("batch_norm", np.ones((1, 1, 1, 1)), given, **(NORM | {"epsilon": 0.25}))
    assert result.item() == 2


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_group_norm(groups: int, scale: bool, offset: bool) -> None:
    assert_as_torch(single("group_norm", 4, 5, 6, groups=groups, scale=scale, offset=offset, epsilon=1e-3), *MAPS)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_evo_norm_s0(groups: int) -> None:
    assert_as_torch(single("evo_norm_s0", 4, 5, 6, groups=groups, epsilon=1e-3), *MAPS)


@pytest.mark.parametrize("threshold", [True, False])
def test_filter_response_norm(threshold: bool) -> None:
    assert_as_torch(single("filter_response_norm", 4, 5, 6, epsilon=1e-3, threshold=threshold), *MAPS)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("group_norm", {"groups": 1, "scale": False, "offset": False}),
        ("evo_norm_s0", {"groups": 1}),
        ("filter_response_norm", {"threshold": False}),
    ],
)
def test_the_epsilon_of_a_normalization_counts(op: str, fields: dict[str, Any]) -> None:
    arrays = {"weight": np.ones(1), "bias": np.zeros(1), "v": np.ones(1)}
    own = {"evo_norm_s0": ("weight", "bias", "v"), "filter_response_norm": ("weight", "bias")}.get(op, ())
    image = np.array([[[[-1.0, 1.0]]]])
    given = {name: arrays[name] for name in own}
    result = run(op, image, given, epsilon=3.0, **fields)
    gate = 1 / (1 + np.exp(-image)) if op == "evo_norm_s0" else 1
    np.testing.assert_allclose(result, image * gate / 2, atol=1e-12)


@pytest.mark.parametrize("op", ["relu", "sigmoid"])
def test_activations(op: str) -> None:
    assert_as_torch(single(op, 4, 5, 6), *MAPS)


def test_softmax() -> None:
    assert_as_torch(single("softmax", 7), (2, 7))


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_what_acts_in_training_only_is_not_there(op: str) -> None:
    graph = Builder(3, 4, 4).add("a", "relu").add("drop", op, rate=0.5).add("b", "sigmoid").graph()
    assert [node.op_type for node in OnnxBackend().compile(graph).skeleton.graph.node] == ["Relu", "Sigmoid"]
    assert_as_torch(graph, (2, 3, 4, 4))


# -- paddings, reshapings, joins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_pad(value: float) -> None:
    assert_as_torch(single("pad2d", 4, 5, 6, padding=[[1, 2], [0, 3]], value=value), *MAPS)


def test_pad_by_reflection() -> None:
    assert_as_torch(single("pad2d", 4, 5, 6, padding=[[1, 2], [0, 3]], mode="reflect"), *MAPS)


def test_pad_channels() -> None:
    assert_as_torch(single("pad_channels", 4, 5, 6, before=1, after=2), *MAPS)


def test_flatten() -> None:
    assert_as_torch(single("flatten", 4, 5, 6), *MAPS)


@pytest.mark.parametrize("shape", [[6, 20], [2, 12, 5], [120]])
def test_reshape(shape: list[int]) -> None:
    assert_as_torch(single("reshape", 4, 5, 6, shape=shape), (2, 4, 5, 6))


@pytest.mark.parametrize("op", ["add", "multiply"])
def test_joins(op: str) -> None:
    b = Builder(4, 5, 6).add("a", "relu", "input").add("b", "sigmoid", "input")
    assert_as_torch(b.add("x", op, "a", "b", "input", "a").graph(), *MAPS)


def test_a_map_of_1_scales_each_channel() -> None:
    b = Builder(4, 5, 6).add("gate", "global_avg_pool")
    assert_as_torch(b.add("x", "multiply", "input", "gate").graph(), *MAPS)


# -- plain nodes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "fields", "wanted"),
    [
        ("conv2d", {"channels": 2, "kernel": 3, "padding": [[0, 1], [1, 0]], "bias": True}, "Conv"),
        ("conv2d", {"channels": 2, "kernel": 7, "stride": 2, "padding": "same"}, "Conv"),
        ("conv_transpose2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": "same"}, "ConvTranspose"),
        ("batch_norm", {}, "BatchNormalization"),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": "same"}, "MaxPool"),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, "MaxPool"),
        ("avg_pool2d", {"kernel": 2, "ceil_mode": True, "count_include_pad": False}, "AveragePool"),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": True}, "AveragePool"),
        ("global_avg_pool", {}, "GlobalAveragePool"),
        ("global_max_pool", {}, "GlobalMaxPool"),
        ("pad2d", {"padding": 1}, "Pad"),
        ("flatten", {}, "Flatten"),
    ],
)
def test_what_onnx_has_is_one_node(op: str, fields: dict[str, Any], wanted: str) -> None:
    assert [node.op_type for node in nodes(op, (4, 9, 9), **fields)] == [wanted]
