"""Detectron's files lack the statistics of batch normalizations, which are folded into scale and offset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, initialize, load
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.weights.folded_statistics import with_folded_statistics
from resnet_spec.weights.naming import find_table
from resnet_spec.weights.selection import select

REMARK = (
    "its 20 batch normalizations have no statistics, since caffe2 folds them into scale and offset; a mean of 0 and a "
    "variance of 1 - epsilon are used"
)
STATISTICS = ("_rm", "_riv")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load("resnet18").to_graph()


@pytest.fixture(scope="module")
def blobs(graph: Graph) -> dict[str, Any]:
    names = find_table("caffe2").renamed(graph, initialize(graph, 2))
    return {name: array for name, array in names.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("prefix", ["", "blobs."])
def test_a_scale_and_an_offset_are_all_that_is_computed(graph: Graph, blobs: dict[str, Any], prefix: str) -> None:
    file = {f"{prefix}{name}": array for name, array in blobs.items() if not name.endswith(STATISTICS)}
    selection = select(graph, Checkpoint(file), "x")
    tensors = selection.tensors

    assert set(tensors) == {parameter.name for parameter in graph.parameters()}
    assert REMARK in selection.remarks
    x = np.linspace(-3, 3, 64)
    epsilon = graph.by_name["bn1"].operation.epsilon  # type: ignore[attr-defined]
    scale, offset, mean, variance = (
        tensors[f"bn1.{word}"].astype("float64") for word in ("weight", "bias", "running_mean", "running_var")
    )
    normalized = (x - mean) / np.sqrt(variance + epsilon) * scale + offset
    # The variance is rounded to float32, by 3e-8.
    np.testing.assert_allclose(normalized, blobs["res_conv1_bn_s"] * x + blobs["res_conv1_bn_b"], rtol=1e-7)


def test_statistics_that_are_there_are_used(graph: Graph, blobs: dict[str, Any]) -> None:
    assert with_folded_statistics(graph, blobs) == (blobs, [])


@pytest.mark.parametrize("lost", ["res_conv1_bn_s", "res2_0_branch2a_bn_rm"])
def test_a_file_that_lacks_some_is_incomplete(graph: Graph, blobs: dict[str, Any], lost: str) -> None:
    keep = (lambda name: not name.endswith(STATISTICS)) if lost.endswith("_s") else (lambda name: True)
    file = {name: array for name, array in blobs.items() if keep(name) and name != lost}

    assert with_folded_statistics(graph, file) == (file, [])


def test_other_libraries_fold_nothing(graph: Graph) -> None:
    """Such a file is of named_parameters(), and its statistics are lost."""
    file = {p.name: np.ones(p.shape, "float32") for p in graph.parameters() if p.trainable}

    assert with_folded_statistics(graph, file) == (file, [])
