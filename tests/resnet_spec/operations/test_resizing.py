"""Resizing, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of

LINEAR = {"mode": "bilinear", "coordinates": "half_pixel"}
ALIGNED = {"mode": "bilinear", "coordinates": "align_corners"}
FLOOR = {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
CENTERED = {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"}


@pytest.mark.parametrize(
    ("fields", "shapes", "output"),
    [
        ({"scale": 2}, [MAP], (4, 18, 20)),
        ({"scale": [3, 1]}, [MAP], (4, 27, 10)),
        ({"size": 7}, [MAP], (4, 7, 7)),
        ({"size": [1, 30]}, [MAP], (4, 1, 30)),
        ({"like": True}, [MAP, (2, 5, 6)], (4, 5, 6)),
    ],
)
def test_output_shape(fields: Any, shapes: Shapes, output: Shape) -> None:
    assert make("resize", **LINEAR, **fields).output_shape(*shapes) == output


def test_rows_and_vectors_are_refused() -> None:
    for shapes in ([(7,)], [(1, 7)]):
        with pytest.raises(ShapeError, match=r"^needs a feature map"):
            make("resize", **LINEAR, scale=2).output_shape(*shapes)
    with pytest.raises(ShapeError, match=r"^needs a feature map"):
        make("resize", **LINEAR, like=True).output_shape(MAP, (7,))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (LINEAR, "needs exactly one of scale, size and like"),
        ({**LINEAR, "scale": 2, "size": 4}, "needs exactly one of scale, size and like"),
        ({"mode": "bilinear", "coordinates": "asymmetric", "scale": 2}, "use half_pixel or align_corners"),
        ({**LINEAR, "rounding": "floor", "scale": 2}, "rounding has no effect with mode 'bilinear'; remove it"),
        ({"mode": "nearest", "coordinates": "half_pixel", "scale": 2}, "nearest needs coordinates 'asymmetric' with"),
        ({**FLOOR, "rounding": "half_up", "scale": 2}, "nearest needs coordinates 'asymmetric' with rounding 'floor'"),
        ({**CENTERED, "coordinates": "align_corners", "scale": 2}, "nearest needs coordinates"),
        ({**FLOOR, "scale": 33}, "must be at most 32; use several steps, or size"),
        ({"mode": "bilinear", "scale": 2}, "coordinates"),
    ],
)
def test_what_is_refused(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        make("resize", **fields)


@pytest.mark.parametrize(
    ("fields", "before", "after", "positions"),
    [
        (LINEAR, 2, 4, [0, 0.25, 0.75, 1]),
        (LINEAR, 5, 2, [0.75, 3.25]),
        (LINEAR, 7, 1, [3]),
        (ALIGNED, 3, 5, [0, 0.5, 1, 1.5, 2]),
        (ALIGNED, 7, 1, [0]),
        (FLOOR, 3, 5, [0, 0, 1, 1, 2]),
        (FLOOR, 5, 3, [0, 1, 3]),
        (CENTERED, 3, 5, [0, 0, 1, 2, 2]),
        (CENTERED, 5, 3, [0, 2, 4]),
        (CENTERED, 4, 2, [1, 3]),
    ],
)
def test_positions(fields: Any, before: int, after: int, positions: list[float]) -> None:
    assert make("resize", **fields, size=1).positions(before, after) == positions


ROUNDINGS = [
    (make("resize", **FLOOR, scale=3), [MAP], 0),
    (make("resize", **LINEAR, scale=2), [MAP], 8),
    (make("resize", **LINEAR, scale=[1, 3]), [MAP], 8 + 100),
    (make("resize", **ALIGNED, size=[17, 10]), [MAP], 8),
    (make("resize", **ALIGNED, scale=2), [MAP], 8 + 81 + 100),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("resizing")


def test_spatial_stride_and_arity() -> None:
    scaled = make("resize", **LINEAR, scale=[2, 4])
    assert [str(number) for number in scaled.spatial_stride()] == ["1/2", "1/4"]
    assert make("resize", **LINEAR, size=8).spatial_stride() is None
    assert (scaled.arity, make("resize", **LINEAR, like=True).arity) == ((1, 1), (2, 2))
