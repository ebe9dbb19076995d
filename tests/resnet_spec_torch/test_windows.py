"""Convolutions and pools held against NumPy: the definitions, written as loops over windows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_spec.operations.windows import same_padding
from resnet_spec_torch import layers
from tests.resnet_spec_torch.graphs import OPERATION, Builder, build, layer, ramp, random_images, run

ASYMMETRIC = [[0, 1], [1, 0]]
EXPLICIT = [0, 1, ASYMMETRIC, [[1, 0], [0, 1]]]


# -- standardized convolution ------------------------------------------------------------------------------------


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
    assert type(layer("std_conv2d", padding="same", **fields)) is layers.StdConv2d
    padded = layer("std_conv2d", padding="same", stride=2, groups=2, **fields)
    assert type(padded) is layers.PaddedStdConv2d
    assert repr(padded).endswith("stride=(2, 2), groups=2, bias=False, epsilon=0.001, padding='same')")


def test_a_std_conv_of_one_weight_a_channel_is_zero_but_for_its_bias() -> None:
    arrays = {"weight": np.ones((2, 1, 1, 1), np.float32), "bias": np.asarray([3, 4], np.float32)}
    fields = {"channels": 2, "kernel": 1, "groups": 2, "bias": True, "epsilon": 1e-6}
    assert run("std_conv2d", random_images(1, 2, 1, 1), arrays, **fields).tolist() == [[[[3]], [[4]]]]


# -- transposed convolution --------------------------------------------------------------------------------------


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
    assert type(cropped) is layers.CroppedConvTranspose2d
    assert repr(cropped).endswith("stride=(2, 2), padding=(1, 0), bias=False, crop=((0, 0), (0, 1)))")


# -- 1-d ---------------------------------------------------------------------------------------------------------


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


# -- pools -------------------------------------------------------------------------------------------------------


def pooled(image: NDArray[Any], operation: Any) -> NDArray[Any]:
    """The definition: of each window's rows and columns, those inside count, and for a mean the padding's may."""
    sizes = image.shape
    edges = operation.padding
    if edges == "same":
        edges = [same_padding(*each, 1) for each in zip(sizes, operation.kernel, operation.stride, strict=True)]
    output = np.empty(operation.output_shape((1, *sizes))[1:])
    for window in np.ndindex(*output.shape):
        axes = []
        for axis in (0, 1):
            start = window[axis] * operation.stride[axis] - edges[axis][0]
            axes.append(np.arange(start, start + operation.kernel[axis]))
        inside = [positions[(positions >= 0) & (positions < size)] for positions, size in zip(axes, sizes, strict=True)]
        padded = [p[p < size + edge[1]] for p, size, edge in zip(axes, sizes, edges, strict=True)]
        values = image[np.ix_(*inside)]
        if operation.op == "max_pool2d":
            output[window] = values.max()
        else:
            counted = padded if operation.count_include_pad else inside
            output[window] = values.sum() / (len(counted[0]) * len(counted[1]))
    return output


@pytest.mark.parametrize(("padding", "ceil_mode"), [*product(EXPLICIT, [False, True]), ("same", False)])
@pytest.mark.parametrize(
    ("op", "more"),
    [("max_pool2d", {}), ("avg_pool2d", {"count_include_pad": False}), ("avg_pool2d", {"count_include_pad": True})],
)
@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (2, 2), (3, 2), (2, 3), (3, 3), (2, 4), ([3, 2], [1, 3])])
def test_a_pool_follows_its_definition(
    op: str, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, more: dict[str, Any]
) -> None:
    fields = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, **more}
    operation = OPERATION.validate_python({"op": op, **fields})
    for height in range(3, 10):
        # Negative, so that a zero would win.
        images = random_images(2, 3, height, 12 - height) - 4
        result = run(op, images, **fields)
        wanted = [[pooled(channel, operation) for channel in image] for image in images]
        np.testing.assert_allclose(result, wanted, rtol=1e-5, err_msg=str(images.shape))


def test_average_pools_by_hand() -> None:
    image = ramp(3, 3) + 1
    fields = {"kernel": 2, "stride": 2}
    assert run("avg_pool2d", image, **fields).tolist() == [[[[2]]]]
    assert run("avg_pool2d", image, ceil_mode=True, **fields).tolist() == [[[[2, 3.5], [3.5, 5]]]]
    for padding in ("same", [[0, 1], [0, 1]]):
        counted = run("avg_pool2d", image, padding=padding, count_include_pad=True, **fields)
        assert counted.tolist() == [[[[2, 1.75], [1.75, 1.25]]]]
        uncounted = run("avg_pool2d", image, padding=padding, count_include_pad=False, **fields)
        assert uncounted.tolist() == [[[[2, 3.5], [3.5, 5]]]]


def test_a_window_does_not_begin_in_the_padding_after_the_input() -> None:
    image = ramp(3, 3)
    fields = {"kernel": 3, "stride": 3, "padding": [[0, 1], [0, 1]], "ceil_mode": True}
    assert run("max_pool2d", image, **fields).tolist() == [[[[4]]]]
    assert run("avg_pool2d", image, count_include_pad=True, **fields).tolist() == [[[[2]]]]


def test_an_average_pool_is_native_where_it_can_be() -> None:
    fields = {"kernel": 3, "stride": 2, "count_include_pad": False}
    native = layer("avg_pool2d", padding=1, ceil_mode=True, **fields)
    assert type(native) is nn.AvgPool2d
    assert (native.padding, native.ceil_mode, native.count_include_pad) == ((1, 1), True, False)
    assert type(layer("avg_pool2d", padding="same", **fields | {"stride": 1})) is nn.AvgPool2d
    padded = layer("avg_pool2d", padding="same", **fields)
    assert type(padded) is layers.PaddedAvgPool2d
    assert "stride=(2, 2), padding='same'" in repr(padded)
    assert layer("max_pool2d", kernel=3, ceil_mode=True).ceil_mode


@pytest.mark.parametrize("size", [4, 5])
def test_global_max_pool(size: int) -> None:
    assert run("global_max_pool", ramp(size, size) - 20).tolist() == [[[[2 * size - 22]]]]


# -- exported ----------------------------------------------------------------------------------------------------


ROUNDED_UP = {"kernel": 3, "stride": 3, "padding": [[0, 1], [1, 0]], "ceil_mode": True}


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("std_conv2d", {"channels": 4, "kernel": 3, "stride": 2, "padding": "same", "epsilon": 1e-6}),
        *(
            ("conv_transpose2d", {"channels": 2, "kernel": kernel, "stride": stride, "padding": "same"})
            for kernel, stride in [(3, 2), (2, 2), (2, 3)]
        ),
        ("avg_pool2d", {"kernel": [2, 3], "stride": 2, "padding": "same", "count_include_pad": False}),
        ("avg_pool2d", {"kernel": 2, "stride": 3, "padding": "same", "count_include_pad": True}),
        ("avg_pool2d", {**ROUNDED_UP, "count_include_pad": False}),
        ("avg_pool2d", {**ROUNDED_UP, "count_include_pad": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
        ("max_pool2d", ROUNDED_UP),
    ],
)
def test_windows_follow_the_size_after_export(op: str, fields: dict[str, Any]) -> None:
    model = build(Builder(3, 24, 24).add("x", op, **fields).graph())
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(model, (torch.rand(2, 3, 24, 24),), dynamic_shapes=(dynamic,))
    exported = program.module()
    for batch, height, width in [(1, 24, 24), (3, 23, 30), (2, 41, 38), (2, 29, 31)]:
        images = torch.rand(batch, 3, height, width)
        torch.testing.assert_close(exported(images), model(images))
