"""PyTorch's pruning masks are applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from resnet_spec.weights.pruning import without_masks

Lines = Callable[[Callable[[], Any]], list[str]]


def test_masks_are_applied() -> None:
    kernel = np.arange(4, dtype="float32").reshape(2, 2)
    tensors, remarks = without_masks(
        {
            "fc.weight_orig": kernel,
            "fc.weight_mask": np.array([[0, 1], [1, 0]], "int64"),
            "fc.bias": kernel,
        }
    )

    assert [*tensors] == ["fc.bias", "fc.weight"]
    assert tensors["fc.weight"].tolist() == [[0, 1], [2, 0]]
    assert tensors["fc.weight"].dtype == np.float32
    assert remarks == ["applied 1 pruning masks"]


def test_what_is_not_pruned_is_unchanged() -> None:
    file = {"attention_mask": np.zeros(2), "conv.weight_orig": np.zeros(2), "conv.weight_u": np.zeros(2)}

    assert without_masks(file) == (file, [])


def test_a_mask_of_another_shape_is_an_error(lines: Lines) -> None:
    file = {"fc.weight_orig": np.zeros((2, 2)), "fc.weight_mask": np.zeros(2)}

    assert lines(lambda: without_masks(file)) == ["fc.weight_mask: its shape is not that of the tensor it prunes"]
