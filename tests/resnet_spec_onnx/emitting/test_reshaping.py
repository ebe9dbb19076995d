"""Pads, reshapes and slices, against the torch backend."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import DTYPES, MAPS, assert_as_torch, model_of, single
from tests.resnet_spec_torch.graphs import Builder


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_pad(value: float) -> None:
    assert_as_torch(single("pad2d", 4, 5, 6, padding=[[1, 2], [0, 3]], value=value), *MAPS)


def test_pad_by_reflection() -> None:
    assert_as_torch(single("pad2d", 4, 5, 6, padding=[[1, 2], [0, 3]], mode="reflect"), *MAPS)


def test_pad_channels() -> None:
    assert_as_torch(single("pad_channels", 4, 5, 6, before=1, after=2), *MAPS)


@pytest.mark.parametrize("between", [(), ("drop", "dropout")])
def test_a_pad_of_zeros_before_a_max_pool_is_not_fused(between: tuple[str, ...]) -> None:
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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flatten(axis: int) -> None:
    assert_as_torch(single("flatten", 4, 5, 6, axis=axis), *MAPS)


@pytest.mark.parametrize("shape", [[6, 20], [2, 12, 5], [120]])
def test_reshape(shape: list[int]) -> None:
    assert_as_torch(single("reshape", 4, 5, 6, shape=shape), (2, 4, 5, 6))


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 1},
        {"axis": 1, "stop": 3},
        {"axis": 2, "start": 1, "stop": 4},
        {"part": 1, "parts": 2},
    ],
)
def test_slice(fields: dict[str, int]) -> None:
    assert_as_torch(single("slice", 4, 5, 6, **fields), *MAPS)


def test_equal_parts_of_rows_at_any_size() -> None:
    b = Builder(4, 8, 9).add("pool", "max_pool2d", kernel=2, stride=2).add("x", "slice", axis=1, part=1, parts=2)
    graph = b.add("end", "max_pool2d", kernel=2, stride=2).graph()
    assert not graph.depends_on_size
    assert_as_torch(graph, (2, 4, 8, 9), (1, 4, 17, 8), (3, 4, 12, 12))


@pytest.mark.parametrize("axes", [(2, 0, 1), (0, 2, 1)])
def test_transposes(axes: tuple[int, ...]) -> None:
    assert_as_torch(Builder(4, 7, 8).add("x", "transpose", axes=axes).graph(), *MAPS)
