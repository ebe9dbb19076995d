"""Operations of several inputs, against the torch backend."""

from __future__ import annotations

import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch
from tests.resnet_spec_torch.graphs import Builder


@pytest.mark.parametrize("op", ["add", "multiply", "maximum", "concat"])
def test_joins(op: str) -> None:
    b = Builder(4, 5, 6).add("a", "relu", "input").add("b", "sigmoid", "input")
    assert_as_torch(b.add("x", op, "a", "b", "input", "a").graph(), *MAPS)


def test_a_map_of_1_scales_each_channel() -> None:
    b = Builder(4, 5, 6).add("gate", "global_avg_pool")
    assert_as_torch(b.add("x", "multiply", "input", "gate").graph(), *MAPS)


def test_a_constant_factor() -> None:
    b = Builder(4, 5, 6).add("one", "multiply", "input", factor=0.2)
    assert_as_torch(b.add("x", "multiply", "one", "input", factor=-1.7).graph(), *MAPS)


@pytest.mark.parametrize("op", ["add", "multiply", "maximum", "subtract"])
def test_a_size_of_1_broadcasts(op: str) -> None:
    b = Builder(4, 5, 6).add("row", "slice", "input", axis=1, stop=1).add("channel", "slice", "input", stop=1)
    more = () if op == "subtract" else ("input",)
    assert_as_torch(b.add("x", op, "row", "channel", *more).graph(), *MAPS)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(axis: int) -> None:
    b = Builder(4, 5, 6).add("a", "relu", "input")
    assert_as_torch(b.add("x", "concat", "input", "a", axis=axis).graph(), *MAPS)
