"""Learned factors, terms and values, against figures computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations import Category, Role
from tests.resnet_spec.operations.support import MAP, Shape, make


@pytest.mark.parametrize(
    ("operation", "shape", "array", "role", "initial"),
    [
        (make("scale", shape="scalar"), MAP, (), Role.LEARNED_SCALE, 1.0),
        (make("scale", shape="channels", initial=1e-6), MAP, (4,), Role.LEARNED_SCALE, 1e-6),
        (make("scale", shape="map", initial=0.0), MAP, MAP, Role.LEARNED_SCALE, 0.0),
        (make("scale", shape="map"), (7,), (7,), Role.LEARNED_SCALE, 1.0),
        (make("offset", shape="scalar"), (7,), (), Role.LEARNED_OFFSET, 0.0),
        (make("offset", shape="channels"), (5, 6), (5,), Role.LEARNED_OFFSET, 0.0),
        (make("offset", shape="map", initial=-2.0), (5, 6), (5, 6), Role.LEARNED_OFFSET, -2.0),
        (make("parameter", shape=(1, 8)), MAP, (1, 8), Role.LEARNED_VALUE, 0.0),
        (make("parameter", shape=(2, 3, 4, 5), initial=0.5), (7,), (2, 3, 4, 5), Role.LEARNED_VALUE, 0.5),
    ],
)
def test_the_array_has_the_name_of_the_layer(
    operation: Any, shape: Shape, array: Shape, role: Role, initial: float
) -> None:
    assert operation.parameters(shape) == (("", array, role, initial),)
    assert operation.category is Category.LEARNED


def test_shapes_roundings_and_strides() -> None:
    scale, value = make("scale", shape="channels"), make("parameter", shape=(1, 8))
    assert scale.output_shape(MAP) == MAP
    assert scale.spatial_stride() == (1, 1)
    assert scale.roundings(MAP) == make("offset", shape="map").roundings(MAP) == 1
    assert value.output_shape(MAP) == (1, 8)
    assert value.roundings(MAP) == 0
    assert value.spatial_stride() is None
    assert scale.macs((MAP,), MAP) == value.macs((MAP,), (1, 8)) == 0


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("scale", {}),
        ("scale", {"shape": "row"}),
        ("scale", {"shape": [4]}),
        ("offset", {"shape": "map", "initial": "zero"}),
        ("offset", {"shape": "map", "initial": float("nan")}),
        ("parameter", {"shape": []}),
        ("parameter", {"shape": [1, 2, 3, 4, 5]}),
        ("parameter", {"shape": [0]}),
    ],
)
def test_invalid_fields_are_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)
