"""Padding, flattening, reshaping and slicing, against figures computed by hand."""

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
        (make("flatten", axis=1), [MAP], (4, 90)),
        (make("flatten", axis=2), [MAP], (4, 9, 10)),
        (make("flatten", axis=1), [(4, 9)], (4, 9)),
        (make("reshape", shape=[360]), [MAP], (360,)),
        (make("reshape", shape=[1, 4]), [(4, 1, 1)], (1, 4)),
        (make("reshape", shape=[4, 10, 9]), [MAP], (4, 10, 9)),
        (make("slice", start=1), [MAP], (3, 9, 10)),
        (make("slice", axis=1, stop=9), [MAP], (4, 9, 10)),
        (make("slice", axis=2, start=2, stop=3), [MAP], (4, 9, 1)),
        (make("slice", part=1, parts=2), [MAP], (2, 9, 10)),
        (make("slice", axis=1, part=2, parts=3), [(5, 9)], (5, 3)),
        (make("slice", part=0, parts=1), [(7,)], (7,)),
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
        (make("flatten", axis=1), [(4,)], "has no axis 1: 4 has axes 0 to 0"),
        (make("slice", part=0, parts=3), [MAP], "3 parts do not divide axis 0, of size 4"),
        (make("slice", axis=1, stop=10), [MAP], "cannot take 0 to 10 of axis 1, of size 9"),
        (make("slice", start=4), [MAP], "cannot take 4 to 4 of axis 0, of size 4"),
        (make("slice", axis=3, start=1), [MAP], "has no axis 3: 4×9×10 has axes 0 to 2"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    "operation",
    [
        make("pad2d", padding=1),
        make("pad1d", padding=1),
        make("pad3d", padding=1),
    ],
)
def test_other_ranks_are_refused(operation: Any) -> None:
    for shape in ((4,), (4, 7), (4, 7, 6), (4, 7, 6, 5)):
        if len(shape) != operation.rank + 1:
            with pytest.raises(ShapeError, match=r"^needs a (signal|feature map|volume) \("):
                operation.output_shape(shape)


def test_pads_of_any_rank() -> None:
    assert make("pad1d", padding=[[1, 2]]).output_shape((4, 7)) == (4, 10)
    assert make("pad3d", padding=[1, [0, 2], 3]).output_shape((4, 7, 6, 5)) == (4, 9, 8, 11)
    assert make("pad_channels", after=1).output_shape((4, 7)) == (5, 7)
    assert make("pad_channels", before=2).output_shape((4, 7, 6, 5)) == (6, 7, 6, 5)
    with pytest.raises(ShapeError, match=r"^needs channels and one to 3 axes of positions, not 4$"):
        make("pad_channels", after=1).output_shape((4,))
    with pytest.raises(ShapeError, match="cannot reflect 4×7×6×2: the padding must be smaller than the map"):
        make("pad3d", padding=2, mode="reflect").output_shape((4, 7, 6, 2))


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("flatten"), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


ROUNDINGS = [
    (make("pad1d", padding=1), [(4, 9)], 0),
    (make("pad2d", padding=1), [MAP], 0),
    (make("pad2d", padding=1, value=0.5), [MAP], 0),
    (make("pad2d", padding=1, value=0.1), [MAP], 1),
    (make("pad3d", padding=1), [(4, 9, 9, 9)], 0),
    (make("pad_channels", after=1), [MAP], 0),
    (make("flatten"), [MAP], 0),
    (make("reshape", shape=[4, 90]), [MAP], 0),
    (make("transpose", axes=[2, 0, 1]), [MAP], 0),
    (make("slice", start=1), [MAP], 0),
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
        ("reshape", {"shape": [1, 2, 3, 4, 5]}),
        ("reshape", {"shape": [4, -1]}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "needs start or stop, or part and parts"),
        ({"start": 0}, "needs start or stop, or part and parts"),
        ({"part": 0}, "part and parts need each other: part: 0 of parts: 2 is the first half"),
        ({"parts": 2}, "part and parts need each other: part: 0 of parts: 2 is the first half"),
        ({"part": 2, "parts": 2}, "part 2 is not one of 0 to 1"),
        ({"part": 0, "parts": 2, "stop": 3}, "start and stop have no effect with part and parts; remove them"),
        ({"start": 3, "stop": 3}, "stop 3 must be greater than start, 3"),
        ({"start": -1}, "greater than or equal to 0"),
    ],
)
def test_what_a_slice_must_state(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        make("slice", **fields)


def test_a_transpose_reorders_axes() -> None:
    assert make("transpose", axes=(2, 0, 1)).output_shape(MAP) == (10, 4, 9)
    assert make("transpose", axes=(1, 0)).output_shape((3, 5)) == (5, 3)
    with pytest.raises(ShapeError, match=r"^cannot reorder 2 axes of 4×9×10, which has 3$"):
        make("transpose", axes=(1, 0)).output_shape(MAP)
    for axes in ([], [0, 0], [1, 2], [0, 1, 2, 3, 4], [-1, 0]):
        with pytest.raises(ValidationError):
            make("transpose", axes=axes)
