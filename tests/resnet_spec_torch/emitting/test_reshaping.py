"""Pads, reshapes and slices keep the order of channels, rows and columns."""

from __future__ import annotations

import numpy as np
import pytest

from tests.resnet_spec_torch.graphs import ramp, random_images, run


@pytest.mark.parametrize(("height", "width"), [(2, 3), (3, 2)])
def test_flatten_is_channels_then_rows_then_columns(height: int, width: int) -> None:
    image = np.arange(2 * height * width, dtype=np.float32).reshape(1, 2, height, width)
    assert run("flatten", image).tolist() == [list(range(2 * height * width))]


@pytest.mark.parametrize("axis", [1, 2])
def test_flatten_of_the_last_axes(axis: int) -> None:
    image = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert run("flatten", image, axis=axis).tolist() == image.reshape(1, *image.shape[1 : axis + 1], -1).tolist()


def test_pad() -> None:
    result = run("pad2d", ramp(2, 2), padding=[[1, 0], [2, 1]], value=-7.5)
    p = -7.5
    assert result[0, 0].tolist() == [[p, p, p, p, p], [p, p, 0, 1, p], [p, p, 1, 2, p]]


def test_pad_by_reflection() -> None:
    result = run("pad2d", ramp(3, 3), padding=[[1, 0], [2, 1]], mode="reflect")
    assert result[0, 0].tolist() == [[3, 2, 1, 2, 3, 2], [2, 1, 0, 1, 2, 1], [3, 2, 1, 2, 3, 2], [4, 3, 2, 3, 4, 3]]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (0, 1), (2, 0), (0, 0)])
def test_pad_channels(before: int, after: int) -> None:
    image = random_images(2, 3, 4, 5)
    wanted = np.pad(image, [(0, 0), (before, after), (0, 0), (0, 0)])
    np.testing.assert_array_equal(run("pad_channels", image, before=before, after=after), wanted)


@pytest.mark.parametrize("shape", [[12], [3, 4], [4, 3], [1, 2, 6], [3, 2, 2]])
def test_reshape_keeps_the_order_of_channels_rows_columns(shape: list[int]) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(run("reshape", images, shape=shape), images.reshape(2, *shape))
    swapped = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run("reshape", swapped, shape=shape), images.reshape(2, *shape))


SLICES = {
    "from": ({"start": 1}, np.s_[:, 1:]),
    "to": ({"axis": 1, "stop": 3}, np.s_[:, :, :3]),
    "between": ({"axis": 2, "start": 1, "stop": 4}, np.s_[..., 1:4]),
    "part": ({"part": 1, "parts": 2}, np.s_[:, 2:]),
    "part of rows": ({"axis": 1, "part": 1, "parts": 3}, np.s_[:, :, 2:4]),
}


@pytest.mark.parametrize("case", SLICES)
def test_slice(case: str) -> None:
    fields, key = SLICES[case]
    images = random_images(2, 4, 6, 5)
    np.testing.assert_array_equal(run("slice", images, **fields), images[key])
