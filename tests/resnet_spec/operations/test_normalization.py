"""Normalizations, against figures computed by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations import Role
from resnet_spec.operations.fields import ShapeError
from tests.resnet_spec.operations.support import GROUPED, MAP, NORM, Shape, Shapes, make, operations_of


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("batch_norm", **NORM), [MAP], MAP),
        (make("batch_norm", **NORM), [(7,)], (7,)),
        (make("position_batch_norm", **NORM), [MAP], MAP),
        (make("group_norm", **GROUPED), [MAP], MAP),
        (make("evo_norm_s0", **GROUPED), [MAP], MAP),
        (make("filter_response_norm", epsilon=1e-6, threshold=True), [MAP], MAP),
    ],
)
def test_output_shape(operation: Any, shapes: Shapes, output: Shape) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (make("group_norm", groups=3, epsilon=1e-5), [MAP], "3 groups do not divide 4 channels"),
        (make("evo_norm_s0", groups=8, epsilon=1e-5), [MAP], "8 groups do not divide 4 channels"),
    ],
)
def test_unsuitable_shapes_are_refused(operation: Any, shapes: Shapes, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(*shapes)


@pytest.mark.parametrize(
    "operation",
    [
        make("position_batch_norm", **NORM),
        make("evo_norm_s0", **GROUPED),
        make("filter_response_norm", epsilon=1e-5, threshold=False),
    ],
)
def test_values_with_positions_only(operation: Any) -> None:
    with pytest.raises(ShapeError, match=r"^needs channels and one to 3 axes of positions, not 8$"):
        operation.output_shape((8,))
    for shape in ((8, 7), (8, 7, 6), (8, 7, 6, 5)):
        assert operation.output_shape(shape) == shape


@pytest.mark.parametrize("shape", [(8,), (8, 3), (8, 3, 2), (8, 3, 2, 5)])
def test_values_of_one_to_four_axes(shape: Shape) -> None:
    rank = max(1, len(shape) - 1)
    assert make("batch_norm", **NORM).label_for(shape) == f"BatchNorm{rank}d"
    assert make("batch_norm", **NORM).output_shape(shape) == shape
    assert make("group_norm", **GROUPED).output_shape(shape) == shape
    for axis in range(len(shape)):
        norm = make("layer_norm", axis=axis, epsilon=1e-5)
        assert norm.output_shape(shape) == shape
        assert [slot.shape for slot in norm.parameters(shape)] == [(shape[axis],)] * 2
    if len(shape) > 1:
        norm = make("instance_norm", epsilon=1e-5)
        assert norm.output_shape(shape) == shape
        assert norm.label_for(shape) == f"InstanceNorm{rank}d"


@pytest.mark.parametrize(
    ("operation", "shape", "said"),
    [
        (make("batch_norm", **NORM), (1, 2, 3, 4, 5), "needs a value of 1 to 4 axes, not 1×2×3×4×5"),
        (make("layer_norm", axis=2, epsilon=1e-5), (3, 4), "has no axis 2: 3×4 has axes 0 to 1"),
        (make("instance_norm", epsilon=1e-5), (3,), "needs a value of 2 to 4 axes, not 3"),
        (
            make("instance_norm", epsilon=1e-5),
            (3, 1, 1),
            "normalizes over positions, of which 3×1×1 has only one; remove it",
        ),
    ],
)
def test_other_values_are_refused(operation: Any, shape: Shape, said: str) -> None:
    with pytest.raises(ShapeError, match=f"^{re.escape(said)}$"):
        operation.output_shape(shape)


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (
            make("batch_norm", **NORM),
            MAP,
            [
                ("weight", (4,), Role.NORM_SCALE),
                ("bias", (4,), Role.NORM_OFFSET),
                ("running_mean", (4,), Role.NORM_MEAN),
                ("running_var", (4,), Role.NORM_VARIANCE),
            ],
        ),
        (
            make("batch_norm", **NORM),
            (7,),
            [
                ("weight", (7,), Role.NORM_SCALE),
                ("bias", (7,), Role.NORM_OFFSET),
                ("running_mean", (7,), Role.NORM_MEAN),
                ("running_var", (7,), Role.NORM_VARIANCE),
            ],
        ),
        (
            make("batch_norm", **NORM, scale=False, offset=False),
            MAP,
            [("running_mean", (4,), Role.NORM_MEAN), ("running_var", (4,), Role.NORM_VARIANCE)],
        ),
        (
            make("position_batch_norm", **NORM),
            MAP,
            [
                ("weight", MAP, Role.POSITION_SCALE),
                ("bias", MAP, Role.POSITION_OFFSET),
                ("running_mean", MAP, Role.POSITION_MEAN),
                ("running_var", MAP, Role.POSITION_VARIANCE),
            ],
        ),
        (make("group_norm", **GROUPED), MAP, [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET)]),
        (make("group_norm", **GROUPED, scale=False), MAP, [("bias", (4,), Role.NORM_OFFSET)]),
        (make("layer_norm", axis=1, epsilon=1e-5, offset=False), MAP, [("weight", (9,), Role.NORM_SCALE)]),
        (make("instance_norm", epsilon=1e-5, scale=False), MAP, [("bias", (4,), Role.NORM_OFFSET)]),
        (make("instance_norm", epsilon=1e-5, scale=False, offset=False), MAP, []),
        (
            make("evo_norm_s0", **GROUPED),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET), ("v", (4,), Role.NORM_GATE)],
        ),
        (
            make("evo_norm_s0", **GROUPED, gate=False),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET)],
        ),
        (
            make("filter_response_norm", epsilon=1e-5, threshold=True),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET), ("tau", (4,), Role.NORM_THRESHOLD)],
        ),
        (
            make("filter_response_norm", epsilon=1e-5, threshold=False),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET)],
        ),
    ],
)
def test_parameters(operation: Any, shape: Shape, slots: list[Any]) -> None:
    assert [slot[:3] for slot in operation.parameters(shape)] == slots


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("batch_norm", **NORM), MAP, 0),
    ],
)
def test_multiply_accumulates(operation: Any, shape: Shape, macs: int) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


ROUNDINGS = [
    (make("batch_norm", **NORM), [MAP], 8),
    (make("batch_norm", **NORM), [(7,)], 8),
    (make("position_batch_norm", **NORM), [MAP], 8),
    # The sums over a group, or a channel, behind its mean and variance, and what comes after.
    (make("group_norm", **GROUPED), [MAP], 4 * 9 * 10 // GROUPED["groups"] + 8),
    (make("evo_norm_s0", **GROUPED), [MAP], 4 * 9 * 10 // GROUPED["groups"] + 8 + 4),
    (make("evo_norm_s0", **GROUPED, gate=False), [MAP], 4 * 9 * 10 // GROUPED["groups"] + 8),
    (make("filter_response_norm", epsilon=1e-6, threshold=True), [MAP], 9 * 10 + 8),
    (make("layer_norm", epsilon=1e-6), [MAP], 4 + 8),
    (make("layer_norm", axis=2, epsilon=1e-6), [MAP], 10 + 8),
    (make("instance_norm", epsilon=1e-6), [MAP], 9 * 10 + 8),
    (make("l2_normalize", epsilon=1e-6), [MAP], 4 + 3),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_roundings(operation: Any, shapes: Shapes, roundings: int) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, *_ in ROUNDINGS} == operations_of("normalization")


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("batch_norm", NORM),
        ("position_batch_norm", NORM),
        ("group_norm", GROUPED),
        ("evo_norm_s0", GROUPED),
        ("filter_response_norm", {"epsilon": 1e-6, "threshold": True}),
        ("layer_norm", {"epsilon": 1e-6}),
        ("instance_norm", {"epsilon": 1e-6}),
    ],
)
def test_fields_without_a_default(op: str, fields: dict[str, Any]) -> None:
    for missing in fields:
        with pytest.raises(ValidationError, match=f"{missing}\n  Field required"):
            make(op, **{key: value for key, value in fields.items() if key != missing})


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("group_norm", {**GROUPED, "groups": 0}),
        ("filter_response_norm", {"epsilon": -1.0, "threshold": True}),
        ("filter_response_norm", {"epsilon": 0, "threshold": True}),
        ("group_norm", {**GROUPED, "epsilon": 0}),
        ("position_batch_norm", {**NORM, "epsilon": 0}),
        ("batch_norm", {**NORM, "decay": 0.9}),
        ("batch_norm", {**NORM, "epsilon": float("nan")}),
        ("batch_norm", {**NORM, "momentum": 1.5}),
        ("batch_norm", {**NORM, "scale": 1}),
        ("layer_norm", {"epsilon": 0}),
        ("layer_norm", {"epsilon": 1e-5, "axis": -1}),
        ("layer_norm", {"epsilon": 1e-5, "axis": 4}),
        ("layer_norm", {"epsilon": 1e-5, "axis": True}),
        ("instance_norm", {"epsilon": 1e-5, "axis": 0}),
    ],
)
def test_wrong_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize(("decay", "momentum"), [(0.99, 0.01), (0.9, 0.1), (0.997, 0.003), (1, 0), (0, 1)])
def test_decay_is_one_minus_momentum_to_the_last_digit(op: str, decay: float, momentum: float) -> None:
    fields = {"epsilon": 1e-3, "running_variance": "biased"}

    assert make(op, decay=decay, **fields) == make(op, momentum=momentum, **fields)
