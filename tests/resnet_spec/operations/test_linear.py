"""The linear layer, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from resnet_spec.operations import Role
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("linear", features=3), [(7,)], (3,)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("linear", features=3), [MAP], "needs a vector, not 4×9×10; add a flatten before it"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("linear", features=3), (7,), [("weight", (3, 7), Role.LINEAR_KERNEL), ("bias", (3,), Role.LINEAR_BIAS)]),
        (make("linear", features=3, bias=False), (7,), [("weight", (3, 7), Role.LINEAR_KERNEL)]),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("linear", features=1000), (512,), 512_000),
    ],
)
def test_multiply_accumulates(operation: Any, shape: Shape, macs: int) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


ROUNDINGS = [
    (make("linear", features=1000), [(512,)], 512 + 1),
    (make("linear", features=1000, bias=False), [(512,)], 512),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("linear")


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("linear", features=3), None),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride
