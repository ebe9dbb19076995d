"""Dropout and stochastic depth, against figures computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("dropout", rate=0.5), [(7,)], (7,)),
        (make("stochastic_depth", rate=0.5), [MAP], MAP),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("dropout", rate=0.5), MAP, []),
        (make("stochastic_depth", rate=0.5), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


ROUNDINGS = [
    (make("dropout", rate=0.5), [MAP], 0),
    (make("stochastic_depth", rate=0.5), [MAP], 0),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("regularization")


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("dropout", {"rate": 0.5}),
        ("stochastic_depth", {"rate": 0.5}),
    ],
)
def test_fields_without_a_default(op: str, fields: dict[str, Any]) -> None:
    for missing in fields:
        with pytest.raises(ValidationError, match=f"{missing}\n  Field required"):
            make(op, **{key: value for key, value in fields.items() if key != missing})


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("dropout", {"rate": 1}),
        ("stochastic_depth", {"rate": -0.1}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)
