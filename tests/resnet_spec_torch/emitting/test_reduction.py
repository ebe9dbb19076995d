"""Means, maxima and sums along axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.resnet_spec_torch.graphs import Builder, build, random_images, run


@pytest.mark.parametrize(("op", "function"), [("mean", np.mean), ("max", np.max), ("sum", np.sum)])
@pytest.mark.parametrize("axis", [0, 1, [1, 2], [0, 2], [0, 1, 2]])
def test_reductions(op: str, function: object, axis: int | list[int]) -> None:
    images = random_images(3, 4, 5, 6).astype("float64")
    axes = tuple(a + 1 for a in ([axis] if isinstance(axis, int) else axis))
    wanted = function(images, axis=axes, keepdims=True)  # type: ignore[operator]
    np.testing.assert_allclose(run(op, images, axis=axis), wanted, rtol=1e-13, atol=1e-14)


def test_a_gradient_is_shared_between_equal_maxima() -> None:
    images = torch.ones(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    build(Builder(4, 2, 2).add("x", "max", axis=0).graph(), "float64")(images).sum().backward()
    assert images.grad is not None
    assert images.grad.unique().tolist() == [0.25]
