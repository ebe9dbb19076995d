"""Windows at every small size, against their definition in NumPy: the rows of ``same``, of ``ceil_mode``, and given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_spec.operations.windows import same_padding
from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import DTYPES, TOLERANCES, assert_as_torch, model_of, nodes, run, single
from tests.resnet_spec_torch.graphs import Builder, random_images

SAME = [(1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 4), (7, 2), ([3, 2], [1, 2]), ([1, 3], 2), ([2, 5], [4, 3])]


def windows(x: NDArray[Any], kernel: Any, stride: Any, dilation: Any, value: float) -> NDArray[Any]:
    """Every window under ``same``: (batch, channels, rows, columns, window's rows, window's columns)."""
    kernel, stride, dilation = (v if isinstance(v, list) else [v, v] for v in (kernel, stride, dilation))
    edges = [same_padding(*axis) for axis in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *edges], constant_values=value)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(2, 3))  # pyright: ignore
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def assert_close(result: NDArray[Any], wanted: NDArray[Any]) -> None:
    np.testing.assert_allclose(result, wanted, rtol=0, atol=TOLERANCES[result.dtype.name], strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dilation", [1, 2, [1, 3]])
@pytest.mark.parametrize(("kernel", "stride"), SAME)
def test_same_convolution_follows_the_input(kernel: Any, stride: Any, dilation: Any, dtype: str) -> None:
    fields = {"channels": 3, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": "same"}
    graph = single("conv2d", 2, 9, 9, **fields)
    weight = random_images(*graph.parameters()[0].shape).astype(dtype)
    model = model_of(graph, {"x.weight": weight}, dtype)
    for height in range(1, 12):
        images = random_images(1, 2, height, 15 - height).astype(dtype)
        seen = windows(images, kernel, stride, dilation, 0)
        wanted = np.einsum("nchwij,ocij->nohw", seen, weight)
        assert_close(OnnxBackend().forward(model, images)[0], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counted", [None, True, False])
@pytest.mark.parametrize(("kernel", "stride"), SAME)
def test_same_pools_follow_the_input(kernel: Any, stride: Any, counted: bool | None, dtype: str) -> None:
    op = "max_pool2d" if counted is None else "avg_pool2d"
    reduce = {None: np.max, True: np.mean, False: np.nanmean}[counted]
    value = {None: -np.inf, True: 0.0, False: np.nan}[counted]
    fields = {"kernel": kernel, "stride": stride, "padding": "same"}
    if counted is not None:
        fields["count_include_pad"] = counted
    model = model_of(single(op, 2, 9, 9, **fields), {}, dtype)
    for height in range(1, 12):
        # Below 0, so that a zero would win.
        images = random_images(1, 2, height, 15 - height).astype(dtype) - 9
        wanted = reduce(windows(images, kernel, stride, 1, value), axis=(4, 5)).astype(dtype)
        assert_close(OnnxBackend().forward(model, images)[0], wanted)


POOLS = [(2, 2), (3, 2), (3, 3), (2, 3), (3, 1), ([3, 2], [2, 4]), (4, 3)]


@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize("counted", [None, True, False])
@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], [[1, 0], [1, 1]]])
def test_explicit_pools(padding: Any, counted: bool | None, ceil_mode: bool) -> None:
    op = "max_pool2d" if counted is None else "avg_pool2d"
    fields: dict[str, Any] = {"padding": padding, "ceil_mode": ceil_mode}
    if counted is not None:
        fields["count_include_pad"] = counted
    sizes = [(1, 2, height, 13 - height) for height in range(4, 10)]
    for kernel, stride in POOLS:
        assert_as_torch(single(op, 2, 9, 9, kernel=kernel, stride=stride, **fields), *sizes)


def test_a_window_that_would_begin_below_the_map_is_dropped() -> None:
    image = np.arange(3.0).reshape(1, 1, 3, 1)
    fields = {"kernel": [2, 1], "stride": [3, 1], "padding": [[0, 1], [0, 0]], "ceil_mode": True}
    assert run("max_pool2d", image, **fields).ravel().tolist() == [1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_ceil_mode_adds_never_counts(dtype: str) -> None:
    image = np.full((1, 1, 1, 5), 6, dtype)
    fields = {"kernel": [1, 3], "stride": [1, 2], "padding": [[0, 0], [1, 0]], "ceil_mode": True}
    # A padding's zero among three, none, and two, since the third is no padding.
    counted = run("avg_pool2d", image, count_include_pad=True, **fields)
    assert counted.ravel().tolist() == [4, 6, 6]
    assert run("avg_pool2d", image, count_include_pad=False, **fields).ravel().tolist() == [6, 6, 6]


@pytest.mark.parametrize("size", [(4, 5), (7, 6)])
@pytest.mark.parametrize("op", ["global_avg_pool", "global_max_pool"])
def test_global_pools(op: str, size: tuple[int, int]) -> None:
    assert_as_torch(single(op, 3, 9, 9), (2, 3, *size))


def test_same_is_upper_where_onnx_runtime_has_it_and_else_worked_out() -> None:
    def written(**fields: Any) -> list[str]:
        found = nodes("conv2d", (2, 9, 9), channels=2, padding="same", **fields)
        return [attribute.s.decode() for attribute in found[-1].attribute if attribute.name == "auto_pad"] or [
            str(len(found))
        ]

    assert written(kernel=3) == written(kernel=1, stride=2) == written(kernel=2, stride=2) == ["1"]
    assert written(kernel=3, stride=2) == ["SAME_UPPER"]
    # Its shape, eight steps to the pads, the pad.
    for fields in ({"kernel": 3, "stride": 2, "dilation": 2}, {"kernel": 3, "stride": 4}):
        assert int(*written(**fields)) > 5


@pytest.mark.parametrize("between", [(), ("drop", "dropout")])
def test_a_pad_of_zeros_before_a_max_pool_stays_one(between: tuple[str, ...]) -> None:
    b = Builder(1, 4, 4).add("pad", "pad2d", padding=1)
    b = b.add(*between, rate=0.5) if between else b
    graph = b.add("pool", "max_pool2d", kernel=3, stride=2).graph()
    for dtype in DTYPES:
        (result,) = OnnxBackend().forward(model_of(graph, {}, dtype), np.full((1, 1, 4, 4), -1.0))
        np.testing.assert_allclose(result, [[[[0, 0], [0, -1]]]], rtol=0, atol=1e-37)


def test_other_pads_of_zeros_are_plain() -> None:
    b = Builder(1, 4, 4).add("pad", "pad2d", padding=1).add("conv", "conv2d", channels=1, kernel=3)
    (_, pad, _) = OnnxBackend().compile(b.graph()).skeleton.graph.node
    assert len(pad.input) == 2
