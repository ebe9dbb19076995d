"""Constants, and what a file's nodes compute from them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from resnet_spec_onnx.reading import normal_form
from resnet_spec_onnx.reading.constant_folding import Constant, evaluate
from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    assert_equal,
    convolution,
    made,
    node,
    read,
    refused,
)


def test_constant_nodes_are_evaluated() -> None:
    held = evaluate(helper.make_node("Constant", [], ["c"], value_ints=[1, 2]), [], 17)
    assert isinstance(held, Constant)
    assert (held.array.tolist(), held.names) == ([1, 2], ())
    weight = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(KERNEL))
    held = evaluate(weight, [], 17)
    assert isinstance(held, Constant)
    assert np.array_equal(held.array, KERNEL)
    assert held.names == ("c",)


def test_weights_in_constant_nodes_are_found_by_place(tmp_path: Path) -> None:
    weight = helper.make_node("Constant", [], ["kernel"], value=numpy_helper.from_array(KERNEL))
    model = made([weight, node("Conv", "x kernel", "y")], {})
    assert_equal(read(model, convolution(), tmp_path), {"conv.weight": KERNEL})


def test_constants_that_grow_are_not_evaluated(tmp_path: Path) -> None:
    """A number says how large a tensor is, or a product broadcasts two vectors to a matrix."""
    arrays = {"kernel": KERNEL, "n": np.array([2**30, 2**30]), "v": np.ones((2**9, 1), np.float32)}
    nodes = [node("ConstantOfShape", "n", "big"), node("Conv", "x big", "y")]
    assert "'big' (ConstantOfShape) is not evaluated" in refused(made(nodes, arrays), convolution(), tmp_path)
    nodes = [node("Transpose", "v", "t"), node("Mul", "v t", "a"), node("Conv", "x a", "y")]
    assert "'a' (Mul) is not evaluated" in refused(made(nodes, arrays), convolution(), tmp_path)


def test_too_many_evaluations_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal_form, "MAX_EVALUATED", 10)
    names = ["kernel", *map(str, range(12))]
    nodes = [node("Neg", before, after) for before, after in pairwise(names)]
    nodes.append(node("Conv", f"x {names[-1]}", "y"))
    message = refused(made(nodes, {"kernel": KERNEL}), convolution(), tmp_path)
    assert message.endswith("more than 10 of its nodes compute constants")
