"""Pools with explicit padding, in ceil mode and over the whole map, against the torch backend and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.resnet_spec_onnx.support import DTYPES, assert_as_torch, run, single

SLOW = pytest.mark.slow

POOLS = [(2, 2), (3, 2), (3, 3), (2, 3), (3, 1), ([3, 2], [2, 4]), (4, 3)]


@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize("counted", [None, True, False])
@pytest.mark.parametrize(
    "padding", [pytest.param(0, marks=SLOW), 1, [[0, 1], [1, 0]], pytest.param([[1, 0], [1, 1]], marks=SLOW)]
)
def test_explicit_pools(padding: Any, counted: bool | None, ceil_mode: bool) -> None:
    op = "max_pool2d" if counted is None else "avg_pool2d"
    fields: dict[str, Any] = {"padding": padding, "ceil_mode": ceil_mode}
    if counted is not None:
        fields["count_include_pad"] = counted
    sizes = [(1, 2, height, 13 - height) for height in range(4, 10)]
    for kernel, stride in POOLS:
        assert_as_torch(single(op, 2, 9, 9, kernel=kernel, stride=stride, **fields), *sizes)


def test_a_window_that_begins_below_the_map_is_dropped() -> None:
    image = np.arange(3.0).reshape(1, 1, 3, 1)
    fields = {"kernel": [2, 1], "stride": [3, 1], "padding": [[0, 1], [0, 0]], "ceil_mode": True}
    assert run("max_pool2d", image, **fields).ravel().tolist() == [1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_added_by_ceil_mode_do_not_count(dtype: str) -> None:
    image = np.full((1, 1, 1, 5), 6, dtype)
    fields = {"kernel": [1, 3], "stride": [1, 2], "padding": [[0, 0], [1, 0]], "ceil_mode": True}
    # One zero of the padding among three values; none; and two values, since the third row is not padding.
    counted = run("avg_pool2d", image, count_include_pad=True, **fields)
    assert counted.ravel().tolist() == [4, 6, 6]
    assert run("avg_pool2d", image, count_include_pad=False, **fields).ravel().tolist() == [6, 6, 6]


@pytest.mark.parametrize("size", [(4, 5), (7, 6)])
@pytest.mark.parametrize("op", ["global_avg_pool", "global_max_pool"])
def test_global_pools(op: str, size: tuple[int, int]) -> None:
    assert_as_torch(single(op, 3, 9, 9), (2, 3, *size))


def test_gem_pool() -> None:
    assert_as_torch(single("gem_pool", 4, 5, 6, epsilon=0.1), (2, 4, 7, 8), (1, 4, 8, 5))
