"""A single node computes what it does in the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnet_spec.parity.compare import comparing
from resnet_spec_onnx import OnnxBackend
from tests.every_operation import alone_and_within, arrays_for, every_operation


def test_a_single_node_computes_what_it_does_in_the_model_in_float64() -> None:
    for name, (alone, within) in alone_and_within(OnnxBackend(), "float64").items():
        np.testing.assert_array_equal(alone, within, err_msg=name, strict=True)


def test_a_single_node_computes_what_it_does_in_the_model_up_to_rounding_in_float32() -> None:
    # Within a model a runtime fuses a convolution and the normalization after it.
    for name, (alone, within) in alone_and_within(OnnxBackend(), "float32").items():
        assert alone.dtype == within.dtype == np.float32
        assert alone.shape == within.shape
        np.testing.assert_allclose(alone, within, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.usefixtures("kept_backends")
def test_nodes_are_compared_with_those_of_another_backend(tmp_path: Path) -> None:
    graph = every_operation()
    with comparing(("torch", "onnx")) as comparison:
        report = comparison.compare(graph, arrays_for(graph, "float32"), bisect=True)
    assert report.passed
    assert [node.name for node in report.nodes] == [node.name for node in graph.nodes]
