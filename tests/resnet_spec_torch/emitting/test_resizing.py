"""Resizing, by the positions that the operation defines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from resnet_spec.operations import Resize
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_images, run

KINDS = {
    "linear": {"mode": "bilinear", "coordinates": "half_pixel"},
    "aligned": {"mode": "bilinear", "coordinates": "align_corners"},
    "floor": {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    "centered": {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
}


def along(value: Any, axis: int, kind: dict[str, str], after: int) -> Any:
    """One axis resized, position by position."""
    resize = Resize(op="resize", **kind, size=(1, 1))  # type: ignore[arg-type]
    taken = []
    for position in resize.positions(value.shape[axis], after):
        lower, weight = int(position), float(position - int(position))
        upper = min(lower + 1, value.shape[axis] - 1)
        taken.append(value.take(lower, axis) * (1 - weight) + value.take(upper, axis) * weight)
    return np.stack(taken, axis)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{"scale": 2}, {"scale": [3, 1]}, {"size": [13, 5]}, {"size": [1, 9]}])
def test_positions(kind: str, fields: dict[str, Any]) -> None:
    images = random_images(2, 3, 7, 6).astype("float64")
    result = run("resize", images, **KINDS[kind], **fields)
    wanted = along(along(images, 2, KINDS[kind], result.shape[2]), 3, KINDS[kind], result.shape[3])
    np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_another_value_at_any_size(kind: str) -> None:
    b = (
        Builder(3, 8, 8)
        .add("pool", "max_pool2d", kernel=3, stride=2)
        .add("x", "resize", "pool", "input", like=True, **KINDS[kind])
    )
    model = build(b.graph(), "float64")
    for size in ((8, 8), (9, 14)):
        images = random_images(2, 3, *size).astype("float64")
        pooled = TorchBackend().forward(
            build(Builder(3, *size).add("pool", "max_pool2d", kernel=3, stride=2).graph(), "float64"), images
        )[0]
        wanted = along(along(pooled, 2, KINDS[kind], size[0]), 3, KINDS[kind], size[1])
        np.testing.assert_allclose(TorchBackend().forward(model, images)[0], wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_every_scale_that_is_allowed_is_exact_in_the_native_function(mode: str) -> None:
    for size in (1, 2, 3, 7, 41, 94, 128, 211):
        row = torch.arange(size, dtype=torch.float64).reshape(1, 1, 1, size)
        for scale in range(1, 33):
            result = torch.nn.functional.interpolate(row, scale_factor=(1, scale), mode=mode)
            assert torch.equal(result.ravel(), row.ravel().repeat_interleave(scale)), (size, scale)


@pytest.mark.parametrize("size", [82, 94, 110])
def test_a_size_at_which_the_native_function_is_off_by_one(size: int) -> None:
    images = np.arange(2, dtype=np.float32).reshape(1, 1, 1, 2)
    wanted = [position * 2 // size for position in range(size)]
    assert run("resize", images, size=[1, size], **KINDS["floor"]).ravel().tolist() == wanted
    assert torch.nn.functional.interpolate(torch.from_numpy(images), size=(1, size)).ravel().tolist() != wanted


def test_it_is_compiled_and_exported() -> None:
    b = Builder(3, 8, 8).add("pool", "max_pool2d", kernel=3, stride=2)
    b.add("x", "resize", "pool", "input", like=True, **KINDS["floor"]).add(
        "y", "resize", "x", size=[5, 6], **KINDS["linear"]
    )
    model = build(b.graph())
    images = torch.from_numpy(random_images(2, 3, 8, 8))
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    other = torch.from_numpy(random_images(5, 3, 8, 8))
    assert torch.equal(exported(other), model(other))
