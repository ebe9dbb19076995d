"""Operations of several inputs, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from resnet_spec.graph.checks import arity_problem
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("add"), [MAP, MAP, MAP], MAP),
        (make("multiply"), [MAP, (4, 1, 1)], MAP),
        (make("multiply"), [(7,), (7,)], (7,)),
        (make("add"), [(4, 1, 1), MAP], MAP),
        (make("add"), [(4, 1, 10), (1, 9, 1)], MAP),
        (make("multiply"), [(1, 9, 10), (4, 1, 1), MAP], MAP),
        (make("multiply", factor=0.2), [MAP], MAP),
        (make("multiply", factor=0.2), [MAP, (4, 1, 1)], MAP),
        (make("subtract"), [MAP, (1, 9, 10)], MAP),
        (make("subtract"), [(1,), (7,)], (7,)),
        (make("maximum"), [(4, 9), (1, 9), (4, 1)], (4, 9)),
        (make("maximum"), [(1, 1, 1), (1, 1, 1)], (1, 1, 1)),
        (make("concat"), [MAP, (1, 9, 10), MAP], (9, 9, 10)),
        (make("concat", axis=2), [MAP, (4, 9, 1)], (4, 9, 11)),
        (make("concat"), [(7,), (2,)], (9,)),
        (make("concat", axis=1), [(2, 7), (2, 3)], (2, 10)),
        (make("concat", axis=3), [(1, 2, 3, 4), (1, 2, 3, 4)], (1, 2, 3, 8)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("add"), [MAP, (4, 9, 9)], "cannot add 4×9×10 and 4×9×9"),
        (make("add"), [MAP, (4, 2, 10)], "cannot add 4×9×10 and 4×2×10"),
        (make("add"), [(4, 1), (4,)], "cannot add 4×1 and 4"),
        (make("multiply"), [(4, 1, 1), (3, 9, 10)], "cannot multiply 4×1×1 and 3×9×10"),
        (make("subtract"), [MAP, (2, 9, 10)], "cannot subtract 4×9×10 and 2×9×10"),
        (make("maximum"), [MAP, MAP, (9, 10)], "cannot take the maximum of 4×9×10 and 4×9×10 and 9×10"),
        (
            make("concat"),
            [MAP, (4, 9, 1)],
            "cannot concat 4×9×10 and 4×9×1 along axis 0: their other sizes must be equal",
        ),
        (make("concat", axis=1), [(4,), (4,)], "has no axis 1: 4 has axes 0 to 0"),
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
        (make("concat"), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


ROUNDINGS = [
    (make("add"), [MAP, MAP], 1),
    (make("add"), [MAP, MAP, MAP], 2),
    (make("multiply"), [MAP, (4, 1, 1)], 1),
    (make("multiply", factor=0.2), [MAP, (4, 1, 1)], 2),
    (make("multiply", factor=0.2), [MAP], 1),
    (make("subtract"), [MAP, MAP], 1),
    (make("maximum"), [MAP, MAP, MAP], 0),
    (make("concat"), [MAP, MAP], 0),
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
        (make("concat", axis=1), (1, 1)),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride


@pytest.mark.parametrize(
    ("op", "arity", "said"),
    [
        ("subtract", 3, "subtract takes two inputs, not 3"),
        ("subtract", 1, "subtract takes two inputs, not 1"),
        ("concat", 1, "concat takes two inputs or more, not 1"),
        ("maximum", 4, None),
    ],
)
def test_arity(op: str, arity: int, said: str | None) -> None:
    assert arity_problem(make(op), arity) == said
