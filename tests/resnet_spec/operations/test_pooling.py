"""Pools, against figures computed by hand."""

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
        (make("max_pool2d", kernel=3), [MAP], (4, 3, 3)),
        (make("max_pool2d", kernel=3, stride=2, padding=1), [MAP], (4, 5, 5)),
        (make("max_pool2d", kernel=3, stride=2, padding="same"), [MAP], (4, 5, 5)),
        (make("avg_pool2d", kernel=2), [MAP], (4, 4, 5)),
        (make("avg_pool2d", kernel=2, padding=[[0, 1], [0, 0]], count_include_pad=True), [MAP], (4, 5, 5)),
        (make("avg_pool2d", kernel=2, padding="same", count_include_pad=False), [MAP], (4, 5, 5)),
        (make("global_avg_pool"), [MAP], (4, 1, 1)),
        (make("global_max_pool"), [MAP], (4, 1, 1)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (
            make("max_pool2d", kernel=11),
            [MAP],
            "the feature map vanishes: a 11×11 window does not fit an input of 4×9×10",
        ),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    "operation",
    [
        make("global_avg_pool"),
        make("global_max_pool"),
        make("gem_pool", epsilon=1e-6),
    ],
)
def test_global_pools_are_of_any_rank(operation: Any) -> None:
    with pytest.raises(ShapeError, match=r"^needs channels and one to 3 axes of positions, not 7$"):
        operation.output_shape((7,))
    for shape in ((4, 7), (4, 7, 6), (4, 7, 6, 5)):
        assert operation.output_shape(shape) == (4, *[1] * (len(shape) - 1))


def test_labels_are_those_of_pytorchs_modules_of_the_rank() -> None:
    assert make("max_pool1d", kernel=2).label_for((4, 7)) == "MaxPool1d"
    assert make("avg_pool3d", kernel=2).label_for((4, 7, 6, 5)) == "AvgPool3d"
    labels = [make("global_avg_pool").label_for((4, *[7] * rank)) for rank in (1, 2, 3)]
    assert labels == ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"]


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool1d", "avg_pool3d"])
def test_other_ranks_are_refused(op: str) -> None:
    rank = int(op[-2])
    for shape in ((4,), (4, 7), (4, 7, 6), (4, 7, 6, 5)):
        if len(shape) != rank + 1:
            with pytest.raises(ShapeError, match=r"^needs a (signal|feature map|volume) \("):
                make(op, kernel=1).output_shape(shape)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("global_avg_pool"), MAP, []),
        (make("max_pool2d", kernel=2), MAP, []),
        (make("avg_pool2d", kernel=2), MAP, []),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("max_pool2d", kernel=3), MAP, 0),
    ],
)
def test_multiply_accumulates(operation: Any, shape: Shape, macs: int) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


ROUNDINGS = [
    (make("max_pool2d", kernel=3), [MAP], 0),
    (make("max_pool1d", kernel=3), [(4, 9)], 0),
    (make("max_pool3d", kernel=3), [(4, 9, 9, 9)], 0),
    (make("avg_pool2d", kernel=[2, 3]), [MAP], 2 * 3),
    (make("avg_pool1d", kernel=4), [(4, 9)], 4),
    (make("avg_pool3d", kernel=[2, 3, 1]), [(4, 9, 9, 9)], 2 * 3),
    (make("global_avg_pool"), [(4, 5, 6, 7)], 5 * 6 * 7),
    (make("global_avg_pool"), [MAP], 9 * 10),
    (make("global_max_pool"), [MAP], 0),
    (make("gem_pool", epsilon=1e-6), [MAP], 90 + 16),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("pooling")


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("max_pool2d", kernel=3, stride=2), (2, 2)),
        (make("avg_pool2d", kernel=2), (2, 2)),
        (make("global_avg_pool"), None),
        (make("global_max_pool"), None),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("max_pool2d", {"kernel": 2, "padding": 2}),
        ("max_pool2d", {"kernel": 3, "padding": [[0, 0], [0, 2]]}),
        ("max_pool2d", {"kernel": 2, "padding": "same", "ceil_mode": True}),
        ("avg_pool2d", {"kernel": 2, "count_include_pad": 1}),
        ("global_max_pool", {"kernel": 2}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_the_default_stride_of_a_pool_is_its_kernel(op: str) -> None:
    assert make(op, kernel=[3, 2]).stride == (3, 2)
    assert make(op, kernel=3, stride=2).stride == (2, 2)


def test_whether_padding_counts_must_be_said_where_there_is_some() -> None:
    for nothing in ({}, {"padding": 0}, {"padding": [[0, 0], [0, 0]]}):
        assert make("avg_pool2d", kernel=2, **nothing) == make("avg_pool2d", kernel=2, count_include_pad=False)
    for padding in (1, "same", [[0, 1], [0, 0]]):
        with pytest.raises(ValidationError, match="count_include_pad\n  Field required"):
            make("avg_pool2d", kernel=2, padding=padding)
