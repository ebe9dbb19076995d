"""The linear layer, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from resnet_spec.operations import Role
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import Shape, Shapes, make, operations_of

BAD = "cannot multiply the matrices "


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("linear", features=3), [(7,)], (3,)),
        (make("linear", features=3), [(5, 7)], (5, 3)),
        (make("linear", features=3), [(2, 4, 5, 7)], (2, 4, 5, 3)),
        (make("matmul"), [(4, 5), (5, 3)], (4, 3)),
        (make("matmul", transpose_first=True), [(5, 4), (5, 3)], (4, 3)),
        (make("matmul", transpose_second=True), [(2, 4, 5), (2, 3, 5)], (2, 4, 3)),
        (make("matmul", transpose_first=True, transpose_second=True), [(5, 4), (3, 5)], (4, 3)),
        (make("matmul"), [(1, 6, 4, 5), (2, 1, 5, 3)], (2, 6, 4, 3)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("linear", features=3), [(1, 2, 3, 4, 5)], "needs a value of 1 to 4 axes, not 1×2×3×4×5"),
        (make("matmul"), [(4, 5), (4, 5)], BAD + "4×5 and 4×5"),
        (
            make("matmul", transpose_second=True),
            [(4, 5), (5, 3)],
            BAD + "4×5 and 5×3 (transposed)",
        ),
        (
            make("matmul", transpose_first=True),
            [(4, 5), (5, 3)],
            BAD + "4×5 (transposed) and 5×3",
        ),
        (make("matmul"), [(2, 4, 5), (5, 3)], BAD + "2×4×5 and 5×3"),
        (make("matmul"), [(2, 4, 5), (3, 5, 3)], BAD + "2×4×5 and 3×5×3"),
        (make("matmul"), [(5,), (5,)], "needs a value of 2 to 4 axes, not 5"),
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
        (make("linear", features=3, bias=False), (5, 7), [("weight", (3, 7), Role.LINEAR_KERNEL)]),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shapes", "macs"),
    [
        (make("linear", features=1000), [(512,)], 512_000),
        (make("linear", features=8), [(5, 2, 7)], 5 * 2 * 7 * 8),
        (make("matmul", factor=0.5), [(2, 4, 5), (2, 5, 3)], 2 * 4 * 5 * 3),
    ],
)
def test_multiply_accumulates(operation: Any, shapes: Shapes, macs: int) -> None:
    assert operation.macs(tuple(shapes), operation.output_shape(*shapes)) == macs


ROUNDINGS = [
    (make("linear", features=1000), [(512,)], 512 + 1),
    (make("linear", features=1000, bias=False), [(512,)], 512),
    (make("linear", features=1000), [(512, 7)], 7 + 1),
    (make("matmul"), [(4, 5), (5, 3)], 5),
    (make("matmul", transpose_first=True, factor=0.5), [(5, 4), (5, 3)], 5 + 1),
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
        (make("matmul"), None),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride
