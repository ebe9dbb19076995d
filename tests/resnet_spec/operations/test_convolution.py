"""Convolutions, against figures computed by hand."""

from __future__ import annotations

import re
from fractions import Fraction
from math import prod
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations import Role
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import MAP, STANDARDIZED, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("conv2d", channels=8, kernel=3), [MAP], (8, 7, 8)),
        (make("conv2d", channels=8, kernel=3, padding=1), [MAP], (8, 9, 10)),
        (make("conv2d", channels=8, kernel=3, stride=2, padding=1), [MAP], (8, 5, 5)),
        (make("conv2d", channels=8, kernel=3, dilation=2), [MAP], (8, 5, 6)),
        (make("conv2d", channels=8, kernel=[3, 1], stride=[1, 2]), [MAP], (8, 7, 5)),
        (make("conv2d", channels=8, kernel=3, padding=[[0, 1], [2, 3]]), [MAP], (8, 8, 13)),
        (make("conv2d", channels=8, kernel=3, stride=2, padding="same"), [MAP], (8, 5, 5)),
        (make("conv2d", channels=8, kernel=9), [MAP], (8, 1, 2)),
        (make("std_conv2d", **STANDARDIZED, stride=2, padding="same"), [MAP], (8, 5, 5)),
        (make("conv_transpose2d", channels=8, kernel=3), [MAP], (8, 11, 12)),
        (make("conv_transpose2d", channels=8, kernel=[3, 1], stride=[2, 3]), [MAP], (8, 19, 28)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding=[[1, 0], [2, 1]]), [MAP], (8, 18, 18)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding="same"), [MAP], (8, 18, 20)),
        (make("conv_transpose2d", channels=8, kernel=1, stride=[1, 3], padding="same"), [MAP], (8, 9, 30)),
        (make("conv1d", channels=2, kernel=3), [(1, 7)], (2, 5)),
        (make("conv1d", channels=1, kernel=5, padding=2), [(1, 7)], (1, 7)),
        (make("conv1d", channels=4, kernel=3, stride=2, dilation=2, groups=2, padding=[[1, 0]]), [(4, 10)], (4, 4)),
        (make("conv1d", channels=8, kernel=3, stride=3, padding="same"), [(4, 10)], (8, 4)),
        (
            make("conv3d", channels=8, kernel=[3, 7, 7], stride=[1, 2, 2], padding=[1, 3, 3]),
            [(3, 4, 9, 10)],
            (8, 4, 5, 5),
        ),
        (make("conv3d", channels=8, kernel=3, stride=2, padding="same"), [(3, 5, 9, 10)], (8, 3, 5, 5)),
        (make("conv_transpose1d", channels=8, kernel=3, stride=2), [(4, 5)], (8, 11)),
        (make("conv_transpose3d", channels=8, kernel=2, stride=2), [(4, 5, 9, 10)], (8, 10, 18, 20)),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (
            make("conv2d", channels=8, kernel=[10, 1]),
            [MAP],
            "the feature map vanishes: a 10×1 window does not fit an input of 4×9×10",
        ),
        (make("conv2d", channels=8, kernel=3, groups=3), [MAP], "3 groups do not divide 4 input and 8 output channels"),
        (make("conv2d", channels=6, kernel=3, groups=4), [MAP], "4 groups do not divide 4 input and 6 output channels"),
        (
            make("conv_transpose2d", channels=8, kernel=1, padding=[[4, 5], [0, 0]]),
            [MAP],
            "the feature map vanishes: the crop leaves nothing of 4×9×10",
        ),
        (make("conv1d", channels=1, kernel=3), [MAP], "needs a signal (channels × length), not 4×9×10"),
        (
            make("conv1d", channels=1, kernel=8),
            [(1, 7)],
            "the feature map vanishes: a window of 8 does not fit an input of 1×7",
        ),
        (
            make("conv3d", channels=8, kernel=3),
            [MAP],
            "needs a volume (channels × depth × height × width), not 4×9×10",
        ),
        (
            make("conv3d", channels=8, kernel=[3, 1, 1]),
            [(4, 2, 9, 10)],
            "the feature map vanishes: a 3×1×1 window does not fit an input of 4×2×9×10",
        ),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    "operation",
    [
        make("conv2d", channels=8, kernel=1),
        make("conv_transpose2d", channels=8, kernel=1),
    ],
)
def test_vectors_and_rows_are_refused(operation: Any) -> None:
    for shape in ((7,), (1, 7)):
        with pytest.raises(ShapeError, match=r"^needs a feature map"):
            operation.output_shape(shape)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("conv2d", channels=8, kernel=[3, 5]), MAP, [("weight", (8, 4, 3, 5), Role.CONV_KERNEL)]),
        (
            make("conv2d", channels=8, kernel=3, groups=2, bias=True),
            MAP,
            [("weight", (8, 2, 3, 3), Role.CONV_KERNEL), ("bias", (8,), Role.CONV_BIAS)],
        ),
        (make("std_conv2d", **STANDARDIZED, groups=4), MAP, [("weight", (8, 1, 3, 3), Role.CONV_KERNEL)]),
        (
            make("std_conv2d", **STANDARDIZED, bias=True, gain=True),
            MAP,
            [
                ("weight", (8, 4, 3, 3), Role.CONV_KERNEL),
                ("bias", (8,), Role.CONV_BIAS),
                ("gain", (8, 1, 1, 1), Role.CONV_GAIN),
            ],
        ),
        (
            make("conv_transpose2d", channels=8, kernel=[3, 5], bias=True),
            MAP,
            [("weight", (4, 8, 3, 5), Role.CONV_TRANSPOSE_KERNEL), ("bias", (8,), Role.CONV_BIAS)],
        ),
        (make("conv1d", channels=2, kernel=3), (1, 7), [("weight", (2, 1, 3), Role.CONV_KERNEL)]),
        (
            make("conv3d", channels=8, kernel=[3, 5, 1], groups=2),
            (4, 9, 9, 9),
            [("weight", (8, 2, 3, 5, 1), Role.CONV_KERNEL)],
        ),
        (
            make("conv_transpose3d", channels=8, kernel=2),
            (4, 3, 3, 3),
            [("weight", (4, 8, 2, 2, 2), Role.CONV_TRANSPOSE_KERNEL)],
        ),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("conv2d", channels=64, kernel=7, stride=2, padding=3), (3, 224, 224), 112 * 112 * 64 * 3 * 49),
        (make("conv2d", channels=8, kernel=3, groups=2, bias=True), MAP, 7 * 8 * 8 * 2 * 9),
        (make("std_conv2d", **STANDARDIZED), MAP, 7 * 8 * 8 * 4 * 9),
        # Each value of the input meets the whole kernel, whatever of the output is cropped.
        (make("conv_transpose2d", channels=8, kernel=3, stride=2), MAP, 9 * 10 * 4 * 8 * 9),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding="same"), MAP, 9 * 10 * 4 * 8 * 9),
        (make("conv1d", channels=2, kernel=3, padding=1), (4, 7), 7 * 2 * 4 * 3),
        (make("conv1d", channels=2, kernel=3, padding=1, groups=2), (4, 7), 7 * 2 * 2 * 3),
        (make("conv3d", channels=2, kernel=3, padding=1), (4, 5, 6, 7), 210 * 2 * 4 * 27),
    ],
)
def test_multiply_accumulates(operation: Any, shape: Shape, macs: int) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


ROUNDINGS = [
    # A kernel's weights for one output, and its bias.
    (make("conv2d", channels=8, kernel=3), [MAP], 4 * 9),
    (make("conv2d", channels=8, kernel=[3, 1], groups=2, bias=True), [MAP], 2 * 3 + 1),
    (make("std_conv2d", **STANDARDIZED), [MAP], 4 * 9),
    (make("std_conv2d", **STANDARDIZED, gain=True), [MAP], 4 * 9 + 2),
    # Of a kernel of 3 at a stride of 2 two weights at most meet in one row.
    (make("conv_transpose2d", channels=8, kernel=3, stride=2), [MAP], 4 * 2 * 2),
    (make("conv_transpose2d", channels=8, kernel=[4, 2], stride=[1, 2], bias=True), [MAP], 4 * 4 * 1 + 1),
    (make("conv1d", channels=2, kernel=3), [(4, 7)], 4 * 3),
    (make("conv1d", channels=2, kernel=3, bias=True), [(4, 7)], 4 * 3 + 1),
    (make("conv3d", channels=2, kernel=3), [(4, 5, 6, 7)], 4 * 27),
    (make("conv_transpose1d", channels=2, kernel=3, stride=2), [(4, 7)], 4 * 2),
    (make("conv_transpose3d", channels=2, kernel=2, stride=[1, 2, 2]), [(4, 5, 6, 7)], 4 * 2),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("convolution")


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("conv2d", channels=8, kernel=3, stride=[2, 3]), (2, 3)),
        (make("std_conv2d", **STANDARDIZED, stride=2), (2, 2)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=[2, 4]), (Fraction(1, 2), Fraction(1, 4))),
        (make("conv1d", channels=2, kernel=3, stride=3), (3,)),
        (make("conv3d", channels=2, kernel=3, stride=[1, 2, 2]), (1, 2, 2)),
        (make("conv_transpose1d", channels=2, kernel=3, stride=2), (Fraction(1, 2),)),
    ],
)
def test_spatial_stride(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("std_conv2d", STANDARDIZED),
    ],
)
def test_fields_without_a_default(op: str, fields: dict[str, Any]) -> None:
    for missing in fields:
        with pytest.raises(ValidationError, match=f"{missing}\n  Field required"):
            make(op, **{key: value for key, value in fields.items() if key != missing})


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("conv2d", {"channels": 8, "kernel": 3, "nonsense": 1}),
        ("conv2d", {"channels": "8", "kernel": 3}),
        ("conv2d", {"channels": 8.0, "kernel": 3}),
        ("conv2d", {"channels": 8, "kernel": 0}),
        ("conv2d", {"channels": 8, "kernel": 10**9}),
        ("conv2d", {"channels": 8, "kernel": 3, "padding": "valid"}),
        ("conv_transpose2d", {"channels": 8, "kernel": 3, "dilation": 2}),
        ("conv1d", {"channels": 8, "kernel": [3, 3]}),
        ("conv1d", {"channels": 8, "kernel": 3, "padding": [1, 1]}),
        ("conv2d", {"channels": 8, "kernel": [3]}),
        ("conv2d", {"channels": 8, "kernel": 3, "padding": [[1, 1, 1], [1, 1]]}),
        ("conv3d", {"channels": 8, "kernel": [3, 3]}),
        ("conv3d", {"channels": 8, "kernel": 3, "stride": [1, 2]}),
        ("conv3d", {"channels": 8, "kernel": 3, "padding": [[0, 1], [0, 1]]}),
        ("std_conv2d", {**STANDARDIZED, "epsilon": 0}),
        ("std_conv2d", {**STANDARDIZED, "gamma": 1.5}),
        ("std_conv2d", {**STANDARDIZED, "gain": True, "gamma": 0.0}),
        ("std_conv2d", {**STANDARDIZED, "gain": 1.0}),
        ("std_conv2d", {**STANDARDIZED, "epsilon": "small"}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)


def test_a_biased_convolution_counts_as_torchvision_does() -> None:
    plain, biased = (make("conv2d", channels=8, kernel=3, bias=bias) for bias in (False, True))

    assert plain.macs((MAP,), (8, 7, 8)) == biased.macs((MAP,), (8, 7, 8)) == prod((8, 7, 8)) * 4 * 9


def test_the_factor_of_a_gain_is_gamma_over_the_root_of_the_weights_of_a_channel() -> None:
    assert make("std_conv2d", **STANDARDIZED).factor(MAP) == 1
    assert make("std_conv2d", **STANDARDIZED, gain=True, gamma=1.5).factor(MAP) == 1.5 / 6
    assert make("std_conv2d", **STANDARDIZED, gain=True, groups=4).factor(MAP) == 1 / 3
