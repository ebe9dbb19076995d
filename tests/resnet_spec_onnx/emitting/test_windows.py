"""``same`` at every small size, against its definition in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_spec.operations.windows import same_padding
from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import DTYPES, TOLERANCES, model_of, nodes, single
from tests.resnet_spec_torch.graphs import random_images

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
def test_same_convolutions_depend_on_the_input_size(kernel: Any, stride: Any, dilation: Any, dtype: str) -> None:
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
def test_same_pools_depend_on_the_input_size(kernel: Any, stride: Any, counted: bool | None, dtype: str) -> None:
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


def test_same_is_an_attribute_where_onnx_runtime_supports_it_else_nodes() -> None:
    def written(**fields: Any) -> list[str]:
        found = nodes("conv2d", (2, 9, 9), channels=2, padding="same", **fields)
        return [attribute.s.decode() for attribute in found[-1].attribute if attribute.name == "auto_pad"] or [
            str(len(found))
        ]

    assert written(kernel=3) == written(kernel=1, stride=2) == written(kernel=2, stride=2) == ["1"]
    assert written(kernel=3, stride=2) == ["SAME_UPPER"]
    # Its shape, the nodes that compute the pads, and the pad.
    for fields in ({"kernel": 3, "stride": 2, "dilation": 2}, {"kernel": 3, "stride": 4}):
        assert int(*written(**fields)) > 5
