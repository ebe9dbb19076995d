"""Learned factors, terms and values, against the torch backend."""

from __future__ import annotations

import pytest

from resnet_spec.errors import GraphError
from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import MAPS, assert_as_torch
from tests.resnet_spec_torch.graphs import Builder


@pytest.mark.parametrize("op", ["scale", "offset"])
@pytest.mark.parametrize("shape", ["scalar", "channels"])
def test_factors_and_terms(op: str, shape: str) -> None:
    assert_as_torch(Builder(4, 7, 8).add("x", op, shape=shape).graph(), *MAPS)
    assert_as_torch(Builder(5).add("x", op, shape=shape).graph(), (3, 5), (1, 5))


@pytest.mark.parametrize("op", ["scale", "offset"])
def test_one_number_per_element(op: str) -> None:
    assert_as_torch(Builder(4, 7, 8).add("x", op, shape="map").graph(), (2, 4, 7, 8), (1, 4, 7, 8))


def test_a_value_for_each_image() -> None:
    b = Builder(4, 7, 8).add("x", "parameter", shape=(2, 3))
    assert_as_torch(b.graph(), (1, 4, 7, 8), (3, 4, 7, 8))
    kinds = [node.op_type for node in OnnxBackend().compile(b.graph()).skeleton.graph.node]
    assert kinds == ["Shape", "Constant", "Concat", "Expand"]


def test_an_output_with_the_name_of_a_parameter_gets_another() -> None:
    graph = Builder(4, 7, 8).add("gain", "scale", shape="scalar").graph()
    assert graph.result_names == ("gain_value",)
    named = graph.model_copy(update={"output_names": ("gain",)})
    with pytest.raises(GraphError, match="gain: the output has the name of a parameter"):
        OnnxBackend().compile(named)
