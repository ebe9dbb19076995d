"""Resizing, by the positions that the operation defines, and by a stock layer where one computes the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from resnet_spec.operations import Resize

KINDS = {
    "linear": {"mode": "bilinear", "coordinates": "half_pixel"},
    "aligned": {"mode": "bilinear", "coordinates": "align_corners"},
    "floor": {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    "centered": {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
}


def along(value, axis, kind, after):
    """One axis resized, position by position."""
    resize = Resize(op="resize", **kind, size=(1, 1))
    taken = []
    for position in resize.positions(value.shape[axis], after):
        lower, weight = int(position), float(position - int(position))
        upper = min(lower + 1, value.shape[axis] - 1)
        taken.append(value.take(lower, axis) * (1 - weight) + value.take(upper, axis) * weight)
    return np.stack(taken, axis)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{"scale": 2}, {"scale": [3, 1]}, {"size": [13, 5]}, {"size": [1, 9]}])
def test_positions(run, single, kind, fields):
    graph = single("resize", (3, 8, 9), **KINDS[kind], **fields)
    for shape in ((2, 3, 8, 9), (1, 3, 7, 6)):
        x = np.random.default_rng(0).standard_normal(shape)
        result = run(graph, x, dtype="float64")
        wanted = along(along(x, 2, KINDS[kind], result.shape[2]), 3, KINDS[kind], result.shape[3])
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(run(graph, x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_another_value_at_any_size(run, builder, kind):
    b = builder(3, 8, 8)
    b("pool", "max_pool2d", "input", kernel=2, stride=2)
    b("x", "resize", "pool", "input", like=True, **KINDS[kind])
    for size in ((8, 8), (9, 14)):
        x = np.random.default_rng(0).standard_normal((2, 3, *size))
        rows, columns = size[0] // 2, size[1] // 2
        pooled = x[:, :, : 2 * rows, : 2 * columns].reshape(2, 3, rows, 2, columns, 2).max((3, 5))
        wanted = along(along(pooled, 2, KINDS[kind], size[0]), 3, KINDS[kind], size[1])
        np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "fields", "dtype", "stock"),
    [
        ("floor", {"scale": 2}, "float64", True),
        ("centered", {"scale": 3}, "float32", True),
        ("linear", {"scale": 2}, "float32", True),
        ("linear", {"scale": 2}, "float64", False),
        ("aligned", {"scale": 2}, "float32", False),
        ("floor", {"size": 4}, "float32", False),
    ],
)
def test_a_stock_layer_where_it_computes_the_same(backend, single, kind, fields, dtype, stock):
    layer = backend.compile(single("resize", (3, 8, 9), **KINDS[kind], **fields), dtype=dtype).get_layer("x")
    assert (type(layer) is keras.layers.UpSampling2D) == stock


def test_it_is_saved_and_loaded(backend, make, builder, tmp_path):
    b = builder(3, 8, 8)
    b("pool", "max_pool2d", "input", kernel=2, stride=2)
    b("x", "resize", "pool", "input", like=True, **KINDS["floor"])
    b("y", "resize", "x", size=[5, 6], **KINDS["aligned"])
    model = make(b.graph())
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))
