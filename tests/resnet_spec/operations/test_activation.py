"""Activations, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations import OPERATIONS, Role
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("relu"), [MAP], MAP),
        (make("sigmoid"), [(7,)], (7,)),
        (make("softmax"), [(7,)], (7,)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("softmax", axis=3), [MAP], "has no axis 3: 4×9×10 has axes 0 to 2"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("relu"), MAP, []),
        (make("sigmoid"), MAP, []),
        (make("prelu", per_channel=True), MAP, [("weight", (4,), Role.ACTIVATION_SLOPE)]),
        (make("prelu", per_channel=True), (7,), [("weight", (7,), Role.ACTIVATION_SLOPE)]),
        (make("prelu", per_channel=False), MAP, [("weight", (1,), Role.ACTIVATION_SLOPE)]),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("relu"), MAP, 0),
    ],
)
def test_multiply_accumulates(operation: Any, shape: Shape, macs: int) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


ROUNDINGS = [
    (make("relu"), [MAP], 0),
    (make("relu6"), [MAP], 0),
    (make("leaky_relu", slope=0.1), [MAP], 1),
    (make("prelu", per_channel=True), [MAP], 1),
    (make("elu"), [MAP], 4 + 1),
    (make("silu"), [MAP], 4 + 1),
    (make("gelu", approximate=False), [MAP], 4 + 4),
    (make("gelu", approximate=True), [MAP], 4 + 8),
    (make("mish"), [MAP], 3 * 4 + 1),
    (make("sigmoid"), [MAP], 4),
    (make("hard_sigmoid"), [MAP], 2),
    (make("hard_swish"), [MAP], 3),
    (make("tanh"), [MAP], 4),
    (make("softplus"), [MAP], 2 * 4),
    (make("softmax"), [(10,)], 10 + 4),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("activation")


def test_operations_that_are_never_negative() -> None:
    assert {name for name, kind in OPERATIONS.items() if kind.nonnegative} == {
        *("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "softmax", "gem_pool"),
    }


@pytest.mark.parametrize("fields", [{"op": "leaky_relu"}, {"op": "prelu"}, {"op": "gelu"}])
def test_what_frameworks_default_differently_is_required(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        make(**fields)


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("relu"), (1, 1)),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride
