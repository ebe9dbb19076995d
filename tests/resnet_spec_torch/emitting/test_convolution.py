"""Convolutions at odd and even sizes, against matrices computed by hand and against NumPy."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_spec.operations.windows import same_padding
from resnet_spec_torch import window_layers
from tests.resnet_spec_torch.graphs import Builder, build, layer, ramp, random_images, run

ASYMMETRIC = [[0, 1], [1, 0]]


def transposed(images: NDArray[Any], kernel: NDArray[Any], stride: tuple[int, int]) -> NDArray[Any]:
    """Each value of the input adds the kernel, times itself, to the output."""
    batch, _, height, width = images.shape
    _, channels, rows, columns = kernel.shape
    full = np.zeros((batch, channels, (height - 1) * stride[0] + rows, (width - 1) * stride[1] + columns))
    for i, j in product(range(height), range(width)):
        top, left = i * stride[0], j * stride[1]
        part = np.einsum("nc,cohw->nohw", images[:, :, i, j], kernel)
        full[:, :, top : top + rows, left : left + columns] += part
    return full


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
    assert type(layer("conv2d", kernel=3, stride=2, **same)) is window_layers.PaddedConv2d
    assert type(layer("conv2d", kernel=2, **same)) is window_layers.PaddedConv2d
    assert type(layer("conv2d", kernel=3, channels=4, padding=[[0, 1], [0, 1]])) is window_layers.PaddedConv2d


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


@pytest.mark.parametrize("padding", [1, ASYMMETRIC, "same"])
@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_std_conv_is_a_convolution_by_a_standardized_kernel(padding: Any, epsilon: float) -> None:
    fields = {"channels": 6, "kernel": [3, 2], "stride": [2, 1], "dilation": [1, 2], "groups": 2, "bias": True}
    kernel = 3 * random_images(6, 2, 3, 2, seed=2) + 1
    rows = kernel.reshape(6, -1).astype(np.float64)
    rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + epsilon)
    arrays = {"weight": rows.reshape(kernel.shape).astype(np.float32), "bias": np.arange(6, dtype=np.float32)}
    images = random_images(2, 4, 7, 8)
    wanted = run("conv2d", images, arrays, padding=padding, **fields)
    result = run("std_conv2d", images, arrays | {"weight": kernel}, padding=padding, epsilon=epsilon, **fields)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)


def test_a_std_conv_has_its_fields() -> None:
    fields = {"channels": 4, "kernel": 3, "epsilon": 1e-3}
    assert type(layer("std_conv2d", padding="same", **fields)) is window_layers.StdConv2d
    padded = layer("std_conv2d", padding="same", stride=2, groups=2, **fields)
    assert type(padded) is window_layers.PaddedStdConv2d
    assert repr(padded).endswith("stride=(2, 2), groups=2, bias=False, epsilon=0.001, padding='same')")


def test_a_std_conv_of_one_weight_a_channel_is_zero_but_for_its_bias() -> None:
    arrays = {"weight": np.ones((2, 1, 1, 1), np.float32), "bias": np.asarray([3, 4], np.float32)}
    fields = {"channels": 2, "kernel": 1, "groups": 2, "bias": True, "epsilon": 1e-6}
    assert run("std_conv2d", random_images(1, 2, 1, 1), arrays, **fields).tolist() == [[[[3]], [[4]]]]


@pytest.mark.parametrize("kernel", range(1, 5))
@pytest.mark.parametrize("stride", range(1, 4))
@pytest.mark.parametrize(("height", "width"), [(4, 5), (1, 2)])
def test_same_transposed_convolution_is_tensorflow_s(kernel: int, stride: int, height: int, width: int) -> None:
    images, weight = random_images(2, 3, height, width), random_images(3, 2, kernel, kernel, seed=2)
    bias = np.asarray([5, -7], np.float32)
    before = max(kernel - stride, 0) // 2
    full = transposed(images, weight, (stride, stride))
    full = np.pad(full, [(0, 0), (0, 0), *[(0, max(stride - kernel, 0))] * 2])
    wanted = full[:, :, before:, before:][:, :, : height * stride, : width * stride] + bias[:, None, None]
    fields = {"channels": 2, "kernel": kernel, "stride": stride, "padding": "same", "bias": True}
    result = run("conv_transpose2d", images, {"weight": weight, "bias": bias}, **fields)
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)
    native = type(layer("conv_transpose2d", **fields)) is nn.ConvTranspose2d
    assert native == (kernel <= stride or (kernel - stride) % 2 == 0)


@pytest.mark.parametrize(
    "padding", [0, 1, 3, [[2, 1], [0, 0]], [[1, 2], [0, 3]], [[4, 0], [0, 4]], [[0, 0], [4, 1]], [[0, 3], [2, 2]]]
)
def test_explicit_padding_crops_a_transposed_convolution(padding: Any) -> None:
    images, weight = random_images(2, 3, 4, 5), random_images(3, 2, 3, 2, seed=2)
    full = transposed(images, weight, (2, 3))
    (top, bottom), (left, right) = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
    wanted = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    fields = {"channels": 2, "kernel": [3, 2], "stride": [2, 3], "padding": padding}
    np.testing.assert_allclose(run("conv_transpose2d", images, {"weight": weight}, **fields), wanted, atol=1e-5)


def test_a_transposed_convolution_has_its_fields() -> None:
    fields = {"channels": 4, "kernel": [4, 3], "stride": 2}
    native = layer("conv_transpose2d", padding=[[1, 1], [1, 0]], bias=True, **fields)
    assert type(native) is nn.ConvTranspose2d
    assert (native.padding, native.output_padding) == ((1, 1), (0, 1))
    assert [tuple(p.shape) for p in native.parameters()] == [(8, 4, 4, 3), (4,)]
    cropped = layer("conv_transpose2d", padding="same", **fields)
    assert type(cropped) is window_layers.CroppedConvTranspose2d
    assert repr(cropped).endswith("stride=(2, 2), padding=(1, 0), bias=False, crop=((0, 0), (0, 1)))")


@pytest.mark.parametrize(("padding", "wanted"), [(0, [[14, 20], [-2, -2]]), (1, [[8, 14, 20, 11], [-2, -2, -2, 3]])])
def test_conv1d(padding: int, wanted: list[list[float]]) -> None:
    """1 to 4 under (1, 2, 3) and (1, 0, -1)."""
    weight = np.asarray([[[1, 2, 3]], [[1, 0, -1]]], np.float32)
    b = Builder(4).add("row", "reshape", shape=[1, 4])
    graph = b.add("conv", "conv1d", channels=2, kernel=3, padding=padding, bias=True).graph()
    model = build(graph)
    model.load_state_dict({"conv.weight": torch.from_numpy(weight), "conv.bias": torch.tensor([0.5, 0.0])})
    result = model(torch.arange(1.0, 5)[None]).detach().numpy()
    assert (result[0] - [[0.5], [0]]).tolist() == wanted
    assert type(model.conv) is nn.Conv1d
    assert layer("conv1d", (2, 5), channels=3, kernel=1).bias is None
