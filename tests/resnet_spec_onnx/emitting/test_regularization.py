"""Dropout and stochastic depth add no node."""

from __future__ import annotations

import pytest

from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import assert_as_torch
from tests.resnet_spec_torch.graphs import Builder


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_training_only_operations_add_no_node(op: str) -> None:
    graph = Builder(3, 4, 4).add("a", "relu").add("drop", op, rate=0.5).add("b", "sigmoid").graph()
    assert [node.op_type for node in OnnxBackend().compile(graph).skeleton.graph.node] == ["Relu", "Sigmoid"]
    assert_as_torch(graph, (2, 3, 4, 4))
