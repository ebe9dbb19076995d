"""Resizing, against the torch backend."""

from __future__ import annotations

from typing import Any

import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, single
from tests.resnet_spec_torch.graphs import Builder

KINDS = (
    {"mode": "bilinear", "coordinates": "half_pixel"},
    {"mode": "bilinear", "coordinates": "align_corners"},
    {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{"scale": 2}, {"scale": [3, 1]}, {"size": [13, 5]}])
def test_resize(kind: dict[str, str], fields: dict[str, Any]) -> None:
    assert_as_torch(single("resize", 4, 5, 6, **kind, **fields), *MAPS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_another_value(kind: dict[str, str]) -> None:
    b = Builder(4, 8, 8).add("pool", "max_pool2d", kernel=2, stride=2)
    assert_as_torch(b.add("x", "resize", "pool", "input", like=True, **kind).graph(), *MAPS)


def test_a_size_at_which_float32_positions_are_off_by_one() -> None:
    assert_as_torch(single("resize", 1, 1, 94, size=[1, 235], **KINDS[2]), (1, 1, 1, 94))
    assert_as_torch(single("resize", 1, 1, 14, size=[1, 78], **KINDS[2]), (1, 1, 1, 14))
