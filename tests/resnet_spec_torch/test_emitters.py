"""One emitter per operation, each on odd and even sizes, its padding held against matrices computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resnet_spec.operations import OPERATIONS
from resnet_spec.operations.windows import same_padding
from resnet_spec_torch import TorchBackend, emitters, layers
from tests.resnet_spec_torch.graphs import OPERATION, Builder, layer, ramp, random_images, run

# -- the table ---------------------------------------------------------------------------------------------------


def test_every_operation_has_an_emitter() -> None:
    assert set(OPERATIONS) - set(emitters.LAYERS) - set(emitters.EXPRESSIONS) == set()


def test_every_emitter_has_an_operation() -> None:
    assert {*emitters.LAYERS, *emitters.EXPRESSIONS, *emitters.IN_PLACE, *emitters.NEW_VALUE} - set(OPERATIONS) == set()


@pytest.mark.parametrize("enter", [emitters.LAYERS.register, emitters.EXPRESSIONS.register])
def test_a_second_emitter_is_refused(enter: Any) -> None:
    with pytest.raises(ValueError, match="'relu' has two emitters"):
        enter("relu")(lambda: None)
    with pytest.raises(ValueError, match="'add' has two emitters"):
        enter("add")(lambda: None)


# -- convolution -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "stride", "wanted"),
    [
        (4, 1, [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]]),
        # One row of zeros below and one column to the right, none above or to the left.
        (4, 2, [[48, 37], [37, 22]]),
        # One on every side.
        (5, 2, [[14, 43, 34], [43, 84, 55], [34, 55, 30]]),
    ],
)
def test_same_convolution(size: int, stride: int, wanted: list[list[float]]) -> None:
    kernel = {"weight": ramp(3, 3)}
    result = run("conv2d", ramp(size, size), kernel, channels=1, kernel=3, stride=stride, padding="same")
    assert result[0, 0].tolist() == wanted


def test_same_convolution_with_an_even_kernel_pads_below_and_right() -> None:
    ones = {"weight": np.ones((1, 1, 2, 2), np.float32)}
    result = run("conv2d", ramp(3, 3), ones, channels=1, kernel=2, padding="same")
    assert result[0, 0].tolist() == [[4, 8, 5], [8, 12, 7], [5, 7, 4]]


def test_explicit_convolution() -> None:
    ones = {"weight": np.ones((1, 1, 2, 2), np.float32)}
    symmetric = run("conv2d", ramp(2, 3), ones, channels=1, kernel=2, padding=[[1, 1], [0, 0]])
    assert symmetric[0, 0].tolist() == [[1, 3], [4, 8], [3, 5]]
    top_and_right = run("conv2d", ramp(2, 3), ones, channels=1, kernel=2, padding=[[1, 0], [0, 1]])
    assert top_and_right[0, 0].tolist() == [[1, 3, 2], [4, 8, 5]]
    bottom_and_left = run("conv2d", ramp(2, 3), ones, channels=1, kernel=2, padding=[[0, 1], [1, 0]])
    assert bottom_and_left[0, 0].tolist() == [[1, 4, 8], [1, 3, 5]]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (2, 1), (2, 3), (3, 2), (7, 2), (3, 4), ((3, 2), (1, 2))])
def test_same_follows_the_input_at_every_size(kernel: Any, stride: Any, dilation: int) -> None:
    operation = layer("conv2d", (1, 9, 9), channels=1, kernel=kernel, stride=stride, dilation=dilation, padding="same")
    operation.to_empty(device="cpu")
    torch.nn.init.normal_(operation.weight)
    for height in range(1, 12):
        image = torch.randn(1, 1, height, 23 - height)
        rows, columns = (
            same_padding(size, k, s, dilation)
            for size, k, s in zip(image.shape[2:], operation.kernel_size, operation.stride, strict=True)
        )
        padded = torch.nn.functional.pad(image, (*columns, *rows))
        wanted = torch.nn.functional.conv2d(padded, operation.weight, None, operation.stride, 0, dilation)
        assert torch.equal(operation(image), wanted)


def test_a_convolution_is_native_where_it_can_be() -> None:
    same = {"channels": 4, "padding": "same"}
    assert type(layer("conv2d", kernel=3, **same)) is nn.Conv2d
    assert type(layer("conv2d", kernel=1, stride=2, **same)) is nn.Conv2d
    assert type(layer("conv2d", kernel=3, channels=4, padding=[[1, 1], [2, 2]])) is nn.Conv2d
    assert type(layer("conv2d", kernel=3, stride=2, **same)) is layers.PaddedConv2d
    assert type(layer("conv2d", kernel=2, **same)) is layers.PaddedConv2d
    assert type(layer("conv2d", kernel=3, channels=4, padding=[[0, 1], [0, 1]])) is layers.PaddedConv2d


def test_a_convolution_has_its_fields() -> None:
    fields = {"channels": 4, "kernel": [3, 1], "stride": [1, 2], "dilation": [2, 1], "padding": [[2, 2], [1, 1]]}
    conv = layer("conv2d", groups=2, bias=True, **fields)
    assert repr(conv) == "Conv2d(8, 4, kernel_size=(3, 1), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2)"
    assert [tuple(p.shape) for p in conv.parameters()] == [(4, 4, 3, 1), (4,)]
    assert layer("conv2d", channels=4, kernel=1).bias is None


def test_padding_is_printed() -> None:
    same = layer("conv2d", channels=4, kernel=3, stride=2, padding="same")
    assert repr(same) == "PaddedConv2d(8, 4, kernel_size=(3, 3), stride=(2, 2), bias=False, padding='same')"
    padded = layer("conv2d", channels=4, kernel=3, padding=[[0, 1], [2, 3]])
    assert repr(padded).endswith("bias=False, padding=((0, 1), (2, 3)))")
    pool = layer("max_pool2d", kernel=3, stride=2, padding="same")
    assert "stride=(2, 2), padding='same', dilation=1" in repr(pool)
    pool = layer("max_pool2d", kernel=3, stride=2, padding=[[0, 1], [0, 1]])
    assert "stride=(2, 2), padding=((0, 1), (0, 1)), dilation=1" in repr(pool)


# -- pools -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "padding", "wanted"),
    [
        (4, "same", [[-6, -5], [-5, -4]]),
        (5, "same", [[-8, -6, -5], [-6, -4, -3], [-5, -3, -2]]),
        (4, [[0, 1], [0, 1]], [[-6, -5], [-5, -4]]),
        (4, [[1, 0], [1, 0]], [[-8, -6], [-6, -4]]),
        (4, 1, [[-8, -6], [-6, -4]]),
    ],
)
def test_max_pool_pads_with_minus_infinity(size: int, padding: Any, wanted: list[list[float]]) -> None:
    # row + column - 10 is negative everywhere, so that a pad of zeros would win.
    assert run("max_pool2d", ramp(size, size) - 10, kernel=3, stride=2, padding=padding)[0, 0].tolist() == wanted


def test_max_pool_without_padding() -> None:
    assert run("max_pool2d", ramp(5, 4), kernel=2)[0, 0].tolist() == [[2, 4], [4, 6]]
    # A stride wider than the window: at 7 rows `same` adds one, at 6 none.
    assert run("max_pool2d", ramp(7, 6), kernel=2, stride=3, padding="same")[0, 0].tolist() == [
        [2, 5],
        [5, 8],
        [7, 10],
    ]


def test_a_max_pool_is_native_where_it_can_be() -> None:
    assert type(layer("max_pool2d", kernel=3, stride=1, padding="same")) is nn.MaxPool2d
    assert type(layer("max_pool2d", kernel=1, stride=2, padding="same")) is nn.MaxPool2d
    assert type(layer("max_pool2d", kernel=3, stride=2, padding=1)) is nn.MaxPool2d
    assert type(layer("max_pool2d", kernel=3, stride=2, padding="same")) is layers.PaddedMaxPool2d


@pytest.mark.parametrize("size", [4, 5])
def test_global_avg_pool(size: int) -> None:
    result = run("global_avg_pool", ramp(size, size))
    assert result.shape == (1, 1, 1, 1)
    assert result[0, 0, 0, 0] == size - 1


# -- the rest ----------------------------------------------------------------------------------------------------


def test_linear() -> None:
    b = Builder(3, 1, 1).add("flat", "flatten").add("fc", "linear", features=2)
    graph = b.graph()
    backend = TorchBackend()
    model = backend.compile(graph)
    weight = np.asarray([[1, 2, 3], [4, 5, 6]], np.float32)
    backend.load(model, graph, {"fc.weight": weight, "fc.bias": np.asarray([10, 20], np.float32)})
    images = np.asarray([1, 0, 2], np.float32).reshape(1, 3, 1, 1)
    assert backend.forward(model, images)[0].tolist() == [[17, 36]]
    assert layer("linear", (3,), features=2, bias=False).bias is None


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_norm(scale: bool, offset: bool) -> None:
    graph = Builder(2, 3, 3).add("bn", "batch_norm", epsilon=0.5, scale=scale, offset=offset).graph()
    arrays = {
        "bn.weight": np.asarray([2, 3], np.float32),
        "bn.bias": np.asarray([1, -1], np.float32),
        "bn.running_mean": np.asarray([4, 5], np.float32),
        "bn.running_var": np.asarray([3.5, 8.5], np.float32),
    }
    arrays = {p.name: arrays[p.name] for p in graph.parameters()}
    backend = TorchBackend()
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    images = random_images(2, 2, 3, 3)
    wanted = (images - np.reshape([4, 5], (2, 1, 1))) / np.reshape([2, 3], (2, 1, 1))
    wanted = wanted * np.reshape([2, 3] if scale else [1, 1], (2, 1, 1))
    wanted = wanted + np.reshape([1, -1] if offset else [0, 0], (2, 1, 1))
    np.testing.assert_allclose(backend.forward(model, images)[0], wanted, rtol=1e-5, atol=1e-6)
    assert [name for name in model.state_dict() if not name.endswith("tracked")] == list(arrays)


def test_batch_norm_has_its_fields() -> None:
    norm = layer("batch_norm", epsilon=1e-3, momentum=0.01, running_variance="biased")
    assert type(norm) is nn.BatchNorm2d
    assert (norm.num_features, norm.eps, norm.momentum) == (8, 1e-3, 0.01)


def test_activations() -> None:
    image = np.asarray([[[[-1, 0, 2]]]], np.float32)
    assert run("relu", image).tolist() == [[[[0, 0, 2]]]]
    np.testing.assert_allclose(run("sigmoid", image), 1 / (1 + np.exp(-image)), rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 2)])
def test_flatten_is_channels_then_rows_then_columns(height: int, width: int) -> None:
    image = np.arange(2 * height * width, dtype=np.float32).reshape(1, 2, height, width)
    assert run("flatten", image).tolist() == [list(range(2 * height * width))]


def test_softmax() -> None:
    graph = Builder(2, 1, 1).add("flat", "flatten").add("softmax", "softmax").graph()
    backend = TorchBackend()
    images = np.log(np.asarray([1, 3], np.float32)).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(backend.forward(backend.compile(graph), images)[0], [[0.25, 0.75]], rtol=1e-6)


def test_pad() -> None:
    result = run("pad2d", ramp(2, 2), padding=[[1, 0], [2, 1]], value=-7.5)
    p = -7.5
    assert result[0, 0].tolist() == [[p, p, p, p, p], [p, p, 0, 1, p], [p, p, 1, 2, p]]


def test_pad_by_reflection() -> None:
    result = run("pad2d", ramp(3, 3), padding=[[1, 0], [2, 1]], mode="reflect")
    assert result[0, 0].tolist() == [[3, 2, 1, 2, 3, 2], [2, 1, 0, 1, 2, 1], [3, 2, 1, 2, 3, 2], [4, 3, 2, 3, 4, 3]]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (0, 1), (2, 0), (0, 0)])
def test_pad_channels(before: int, after: int) -> None:
    image = random_images(2, 3, 4, 5)
    wanted = np.pad(image, [(0, 0), (before, after), (0, 0), (0, 0)])
    np.testing.assert_array_equal(run("pad_channels", image, before=before, after=after), wanted)


@pytest.mark.parametrize("shape", [[12], [3, 4], [4, 3], [1, 2, 6], [3, 2, 2]])
def test_reshape_keeps_the_order_of_channels_rows_columns(shape: list[int]) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(run("reshape", images, shape=shape), images.reshape(2, *shape))
    swapped = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run("reshape", swapped, shape=shape), images.reshape(2, *shape))


def test_joins() -> None:
    b = Builder(2, 3, 3).add("a", "relu").add("b", "sigmoid", "input").add("c", "global_avg_pool", "input")
    b.add("sum", "add", "a", "b", "input").add("product", "multiply", "sum", "c", "b")
    backend = TorchBackend()
    x = random_images(2, 2, 3, 3)
    result = backend.forward(backend.compile(b.graph()), x)[0]
    gate = 1 / (1 + np.exp(-x))
    wanted = (np.maximum(x, 0) + gate + x) * x.mean((2, 3), keepdims=True) * gate
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)


# -- emitters never see weights ----------------------------------------------------------------------------------


def test_layers_are_empty_and_native_classes() -> None:
    state = torch.get_rng_state()
    conv = layer("conv2d", channels=4, kernel=3, bias=True)
    norm = layer("batch_norm", epsilon=1e-5, momentum=0.1, running_variance="unbiased")
    linear = layer("linear", (4,), features=2)
    for module in (conv, norm, linear):
        assert all(tensor.is_meta for tensor in module.state_dict().values())
    assert [type(m) for m in (conv, norm, linear)] == [nn.Conv2d, nn.BatchNorm2d, nn.Linear]
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_have_the_model_s_dtype() -> None:
    operation = OPERATION.validate_python({"op": "conv2d", "channels": 4, "kernel": 3})
    conv = emitters.LAYERS["conv2d"](operation, (3, 8, 8), emitters.Options(torch.float64))
    assert conv.weight.dtype == torch.float64
