"""Means, maxima and sums along axes, against the torch backend."""

from __future__ import annotations

import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, single


@pytest.mark.parametrize("op", ["mean", "max", "sum"])
@pytest.mark.parametrize("axis", [0, 1, [1, 2], [0, 2]])
def test_reductions(op: str, axis: int | list[int]) -> None:
    assert_as_torch(single(op, 4, 5, 6, axis=axis), *MAPS)
