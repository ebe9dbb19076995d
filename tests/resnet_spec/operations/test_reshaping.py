"""Padding, flattening and reshaping, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("pad2d", padding=3), [MAP], (4, 15, 16)),
        (make("pad2d", padding=[[0, 1], [2, 3]]), [MAP], (4, 10, 15)),
        (make("pad2d", padding=[[8, 0], [0, 9]], mode="reflect"), [MAP], (4, 17, 19)),
        (make("pad_channels", before=1, after=2), [MAP], (7, 9, 10)),
        (make("flatten"), [MAP], (360,)),
        (make("reshape", shape=[360]), [MAP], (360,)),
        (make("reshape", shape=[1, 4]), [(4, 1, 1)], (1, 4)),
        (make("reshape", shape=[4, 10, 9]), [MAP], (4, 10, 9)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (
            make("pad2d", padding=[[9, 0], [0, 0]], mode="reflect"),
            [MAP],
            "cannot reflect 4×9×10: the padding must be smaller than the map",
        ),
        (
            make("pad2d", padding=[[0, 0], [0, 10]], mode="reflect"),
            [MAP],
            "cannot reflect 4×9×10: the padding must be smaller than the map",
        ),
        (make("reshape", shape=[4, 91]), [MAP], "cannot reshape 4×9×10 to 4×91, which has another size"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    "operation",
    [
        make("pad2d", padding=1),
        make("pad_channels", after=1),
    ],
)
def test_vectors_and_rows_are_refused(operation: Any) -> None:
    for shape in ((7,), (1, 7)):
        with pytest.raises(ShapeError, match=r"^needs a feature map"):
            operation.output_shape(shape)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("flatten"), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


ROUNDINGS = [
    (make("pad2d", padding=1), [MAP], 0),
    (make("pad_channels", after=1), [MAP], 0),
    (make("flatten"), [MAP], 0),
    (make("reshape", shape=[4, 90]), [MAP], 0),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("reshaping")


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("pad2d", padding=3), (1, 1)),
        (make("pad_channels", after=3), (1, 1)),
        (make("flatten"), None),
        (make("reshape", shape=[4, 10, 9]), None),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("pad2d", {"padding": 1, "value": float("inf")}),
        ("pad2d", {"padding": 1, "value": 1.0, "mode": "reflect"}),
        ("pad2d", {"padding": 1, "mode": "edge"}),
        ("pad_channels", {"before": -1}),
        ("reshape", {"shape": []}),
        ("reshape", {"shape": [1, 2, 3, 4]}),
        ("reshape", {"shape": [4, -1]}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)
