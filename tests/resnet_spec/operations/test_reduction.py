"""Means, maxima and sums along axes, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shape", "output"),
    [
        (make("mean", axis=0), MAP, (1, 9, 10)),
        (make("mean", axis=[1, 2]), MAP, (4, 1, 1)),
        (make("max", axis=1), MAP, (4, 1, 10)),
        (make("max", axis=0), (7,), (1,)),
        (make("sum", axis=[2, 0]), MAP, (1, 9, 1)),
        (make("sum", axis=[0, 1]), (5, 9), (1, 1)),
        (make("mean", axis=3), (4, 9, 10, 2), (4, 9, 10, 1)),
    ],
)
def test_output_shape(operation: Any, shape: Shape, output: Shape) -> None:
    assert operation.output_shape(shape) == output


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"^has no axis 2: 5×9 has axes 0 to 1$"):
        make("mean", axis=[0, 2]).output_shape((5, 9))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"axis": [1, 1]}, "names an axis twice"),
        ({"axis": []}, "at least 1 item"),
        ({"axis": -1}, "greater than or equal to 0"),
        ({"axis": "channels"}, "must be a whole number or a list of them"),
        ({}, "Field required"),
    ],
)
def test_axes_that_are_refused(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        make("mean", **fields)


def test_the_order_of_axes_does_not_matter() -> None:
    assert make("mean", axis=[2, 1]) == make("mean", axis=(1, 2))


ROUNDINGS = [
    (make("mean", axis=0), MAP, 4),
    (make("mean", axis=[1, 2]), MAP, 90),
    (make("max", axis=0), MAP, 0),
    (make("sum", axis=2), MAP, 9),
]


@pytest.mark.parametrize(("operation", "shape", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shape: Shape, roundings: int) -> None:
    assert operation.roundings(shape) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("reduction")


def test_spatial_stride() -> None:
    assert make("mean", axis=0).spatial_stride() == (1, 1)
    assert make("mean", axis=[0, 1]).spatial_stride() is None
