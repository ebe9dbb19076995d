"""Dropout and stochastic depth: nothing in inference, the expected share in training."""

from __future__ import annotations

import numpy as np
import pytest

X = 2 * np.random.default_rng(0).standard_normal((2, 6, 4, 3)) + 1


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_nothing_is_dropped_in_inference_or_at_a_rate_of_0(backend, make, single, op):
    close(backend.forward(make(single(op, (6, 4, 3), rate=0.9), dtype="float64"), X)[0], X)
    never = make(single(op, (6, 4, 3), rate=0.0), dtype="float64")
    close(backend.forward(never, X, training=True)[0], X)


def test_dropout_zeroes_elements_and_scales_the_others(backend, make, single):
    model = make(single("dropout", (2, 16, 16), rate=0.75), dtype="float64")
    y = backend.forward(model, np.ones((8, 2, 16, 16)), training=True)[0]
    assert set(np.unique(y)) == {0, 4}
    assert abs((y == 0).mean() - 0.75) < 0.05


def test_stochastic_depth_zeroes_images_whole(backend, make, single):
    model = make(single("stochastic_depth", (2, 4, 4), rate=0.75), dtype="float64")
    y = backend.forward(model, np.ones((512, 2, 4, 4)), training=True)[0].reshape(512, -1)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0, 4}
    assert abs((y[:, 0] == 0).mean() - 0.75) < 0.1


def test_stochastic_depth_of_vectors(backend, make, builder):
    b = builder(2, 1, 3)
    b("flatten", "flatten", "input")
    b("x", "stochastic_depth", "flatten", rate=0.5)
    y = backend.forward(make(b.graph()), np.ones((64, 2, 1, 3)), training=True)[0]
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0, 2}
