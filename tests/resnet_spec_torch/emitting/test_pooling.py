"""Pools at odd and even sizes, against their definition as loops over windows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from resnet_spec.operations.windows import same_padding
from resnet_spec_torch import window_layers
from tests.resnet_spec_torch.graphs import OPERATION, layer, ramp, random_images, run

ASYMMETRIC = [[0, 1], [1, 0]]
EXPLICIT = [0, 1, ASYMMETRIC, [[1, 0], [0, 1]]]


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
    assert type(layer("max_pool2d", kernel=3, stride=2, padding="same")) is window_layers.PaddedMaxPool2d


@pytest.mark.parametrize("size", [4, 5])
def test_global_avg_pool(size: int) -> None:
    result = run("global_avg_pool", ramp(size, size))
    assert result.shape == (1, 1, 1, 1)
    assert result[0, 0, 0, 0] == size - 1


@pytest.mark.parametrize(("padding", "ceil_mode"), [*product(EXPLICIT, [False, True]), ("same", False)])
@pytest.mark.parametrize(
    ("op", "more"),
    [("max_pool2d", {}), ("avg_pool2d", {"count_include_pad": False}), ("avg_pool2d", {"count_include_pad": True})],
)
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        (2, 1), (3, 2), (2, 3), ([3, 2], [1, 3]),
        *(pytest.param(kernel, stride, marks=pytest.mark.slow) for kernel, stride in [(2, 2), (3, 3), (2, 4)]),
    ],
)  # fmt: skip
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
    assert type(padded) is window_layers.PaddedAvgPool2d
    assert "stride=(2, 2), padding='same'" in repr(padded)
    assert layer("max_pool2d", kernel=3, ceil_mode=True).ceil_mode


@pytest.mark.parametrize("size", [4, 5])
def test_global_max_pool(size: int) -> None:
    assert run("global_max_pool", ramp(size, size) - 20).tolist() == [[[[2 * size - 22]]]]
