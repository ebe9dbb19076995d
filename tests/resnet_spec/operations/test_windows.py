"""The arithmetic of windows, against figures computed by hand and against a count of the windows one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from resnet_spec.operations import Operation
from resnet_spec.operations.fields import ShapeError
from resnet_spec.operations.windows import (
    explicit_crop,
    fixed_ceil_padding,
    fixed_padding,
    fixed_same_padding,
    full_padding,
    overhang,
    overlapping_windows,
    reached_padding,
    same_padding,
    symmetric_padding,
    transposed_same_crop,
    transposed_size,
    window_count,
    window_counts,
)

ADAPTER: TypeAdapter[Any] = TypeAdapter(Operation)


def make(op: str, **fields: Any) -> Any:
    return ADAPTER.validate_python({"op": op, **fields})


# -- same --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        (224, 7, 2, 1, (2, 3)),
        (225, 7, 2, 1, (3, 3)),
        (224, 3, 2, 1, (0, 1)),
        (225, 3, 2, 1, (1, 1)),
        (5, 3, 1, 1, (1, 1)),
        (5, 2, 1, 1, (0, 1)),
        (5, 3, 1, 2, (2, 2)),
        (6, 3, 3, 1, (0, 0)),
        (7, 3, 3, 1, (1, 1)),
        (8, 3, 3, 1, (0, 1)),
        (8, 1, 2, 1, (0, 0)),
        (1, 3, 2, 1, (1, 1)),
    ],
)
def test_same_pads_as_tensorflow_defines_it(
    size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride, dilation) == pads


_SMALL = st.integers(1, 5)


@given(st.integers(1, 40), _SMALL, _SMALL, _SMALL)
@settings(deadline=None)
def test_same_gives_one_output_for_each_stride_begun(size: int, kernel: int, stride: int, dilation: int) -> None:
    operation = make("conv2d", channels=1, kernel=kernel, stride=stride, dilation=dilation, padding="same")

    assert operation.output_shape((1, size, size)) == (1, -(-size // stride), -(-size // stride))


@given(_SMALL, _SMALL, _SMALL)
@settings(deadline=None)
def test_fixed_padding_acts_as_same_at_every_size_and_is_none_only_where_same_differs(
    kernel: int, stride: int, dilation: int
) -> None:
    edges = fixed_padding((kernel, kernel), (stride, stride), "same", (dilation, dilation))
    by_size = {size: same_padding(size, kernel, stride, dilation) for size in range(1, 60)}

    if edges is None:
        assert len(set(by_size.values())) > 1
        return
    for size, (before, _) in by_size.items():
        assert edges[0][0] == before
        assert window_count(size, kernel, stride, edges[0], dilation) == -(-size // stride)


@pytest.mark.parametrize(
    ("kernel", "dilation", "symmetric", "full"),
    [(1, 3, (0, 0), (0, 0)), (3, 1, (1, 1), (2, 2)), (3, 2, (2, 2), (4, 4)), (4, 1, (1, 1), (3, 3))],
)
def test_paddings_that_are_equal_on_both_sides(
    kernel: int, dilation: int, symmetric: tuple[int, int], full: tuple[int, int]
) -> None:
    assert symmetric_padding(kernel, dilation) == symmetric
    assert full_padding(kernel, dilation) == full


def test_same_takes_symbolic_sizes_and_asks_for_a_maximum_only_where_one_is_needed() -> None:
    asked: list[int] = []

    def maximum(a: int, b: int) -> int:
        asked.append(a)
        return max(a, b)

    assert same_padding(7, 3, 2, maximum=maximum) == (1, 1)
    assert asked == []
    assert same_padding(8, 1, 2, maximum=maximum) == (0, 0)
    assert asked == [-1]


# -- counts and ceiling mode -------------------------------------------------------------------------------------


@given(st.integers(1, 30), _SMALL, _SMALL, _SMALL, st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None)
def test_window_count_is_that_of_the_windows_that_fit(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int
) -> None:
    last = dilation * (kernel - 1)
    starts = [start for start in range(-before, size + after, stride) if start + last < size + after]
    assume(starts)

    count = window_count(size, kernel, stride, (before, after), dilation)

    assert count == len(starts)
    assert overhang(size + before, count, kernel, stride, dilation) == starts[-1] + last + 1 - size


@given(st.integers(1, 30), _SMALL, _SMALL, st.integers(0, 2), st.integers(0, 2))
@settings(deadline=None)
def test_ceil_mode_is_a_fixed_padding_at_every_size(
    size: int, kernel: int, stride: int, before: int, after: int
) -> None:
    assume(2 * max(before, after) <= kernel <= size + before + after)
    count = window_count(size, kernel, stride, (before, after), ceil_mode=True)

    assert window_count(size, kernel, stride, fixed_ceil_padding(kernel, stride, (before, after))) == count
    assert fixed_padding((kernel, 1), (stride, 1), ((before, after), (0, 0)), ceil_mode=True) == (
        fixed_ceil_padding(kernel, stride, (before, after)),
        (0, 0),
    )
    rows_reached = (count - 1) * stride + kernel - before - size
    assert reached_padding(size, kernel, stride, (before, after)) == (before, min(after, rows_reached))


def test_a_window_that_does_not_fit_is_an_error_in_ceil_mode_too() -> None:
    for ceil_mode in (False, True):
        with pytest.raises(ShapeError, match="a 3×1 window does not fit an input of 4×2×5"):
            window_counts((4, 2, 5), (3, 1), (2, 1), ((0, 0), (0, 0)), ceil_mode=ceil_mode)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "rows", "in_all"),
    [
        (8, 3, 2, 0, 3, 4),
        (9, 3, 2, 0, 4, 4),
        (8, 2, 2, 0, 4, 4),
        (7, 2, 2, 0, 3, 4),
        (8, 3, 2, 1, 4, 5),
        # A last window that would begin in the padding at the bottom is left out.
        (4, 2, 3, 1, 2, 2),
        (2, 1, 3, 0, 1, 1),
        (7, 3, 4, [[1, 0], [1, 0]], 2, 2),
        (7, 3, 3, [[1, 0], [1, 0]], 2, 3),
    ],
)
def test_ceil_mode_lets_the_last_window_stick_out_as_pytorch_does(
    op: str, size: int, kernel: int, stride: int, padding: Any, rows: int, in_all: int
) -> None:
    fields = {"kernel": kernel, "stride": stride, "padding": padding}
    counted = {"count_include_pad": True} if op == "avg_pool2d" else {}
    shapes = [make(op, **fields, **counted, ceil_mode=mode).output_shape((1, size, size)) for mode in (False, True)]

    assert shapes == [(1, rows, rows), (1, in_all, in_all)]


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2))
@settings(deadline=None)
def test_with_ceil_mode_every_window_begins_in_the_map_or_before_it_and_all_that_do_are_there(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    assume(2 * padding <= kernel <= size + 2 * padding)
    pool = make("max_pool2d", kernel=kernel, stride=stride, padding=padding, ceil_mode=True)
    rows = pool.output_shape((1, size, size))[1]

    assert (rows - 1) * stride < size + padding
    assert rows * stride > size + 2 * padding - kernel or rows * stride >= size + padding


# -- crops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "stride", "crop"),
    [(3, 1, (1, 1)), (3, 2, (0, 1)), (4, 2, (1, 1)), (2, 2, (0, 0)), (1, 2, (0, -1)), (1, 4, (0, -3)), (5, 2, (1, 2))],
)
def test_the_crop_of_same_leaves_the_stride_times_the_size(kernel: int, stride: int, crop: tuple[int, int]) -> None:
    assert transposed_same_crop(kernel, stride) == crop
    assert explicit_crop((kernel, 1), (stride, 1), "same") == (crop, (0, 0))
    assert explicit_crop((kernel, 1), (stride, 1), ((3, 2), (1, 0))) == ((3, 2), (1, 0))
    assert [transposed_size(size, kernel, stride, crop) for size in (1, 2, 9)] == [stride, 2 * stride, 9 * stride]


def test_the_fixed_padding_of_one_axis_is_none_where_same_depends_on_the_size() -> None:
    assert (fixed_same_padding(3, 2), fixed_same_padding(2, 2), fixed_same_padding(2, 1)) == (None, (0, 1), (0, 1))


def test_overlapping_windows_are_those_over_one_row() -> None:
    assert [overlapping_windows(3, stride) for stride in (1, 2, 3, 4)] == [3, 2, 1, 1]
