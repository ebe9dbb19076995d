"""Additions and multiplications, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("add"), [MAP, MAP, MAP], MAP),
        (make("multiply"), [MAP, (4, 1, 1)], MAP),
        (make("multiply"), [(7,), (7,)], (7,)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("add"), [MAP, (4, 9, 9)], "cannot add 4×9×10 and 4×9×9"),
        (make("multiply"), [(4, 1, 1), MAP], "cannot multiply 4×1×1 by 4×9×10"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("add"), MAP, []),
        (make("multiply"), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


ROUNDINGS = [
    (make("add"), [MAP, MAP], 1),
    (make("add"), [MAP, MAP, MAP], 2),
    (make("multiply"), [MAP, (4, 1, 1)], 1),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("joining")


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("add"), (1, 1)),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride
