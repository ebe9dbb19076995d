"""Linear layers, against the torch backend."""

from __future__ import annotations

import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, single
from tests.resnet_spec_torch.graphs import Builder


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    assert_as_torch(single("linear", 5, features=3, bias=bias), (4, 5), (1, 5))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_over_the_last_axis(bias: bool) -> None:
    assert_as_torch(Builder(4, 7, 8).add("x", "linear", features=3, bias=bias).graph(), (2, 4, 7, 8), (1, 4, 7, 8))
    b = Builder(4, 2, 3).add("rows", "reshape", shape=(4, 6)).add("x", "linear", features=3, bias=bias)
    assert_as_torch(b.graph(), (2, 4, 2, 3), (1, 4, 2, 3))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_products_of_two_values(first: bool, factor: float) -> None:
    fields = {"transpose_first": first, "transpose_second": not first, "factor": factor}
    b = Builder(4, 7, 8).add("one", "slice", stop=1).add("gate", "sigmoid", "input")
    assert_as_torch(b.add("x", "matmul", "one", "gate", **fields).graph(), *MAPS)
