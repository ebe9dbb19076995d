"""Means, maxima and sums along axes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf


@pytest.mark.parametrize(("op", "function"), [("mean", np.mean), ("max", np.max), ("sum", np.sum)])
@pytest.mark.parametrize("axis", [0, 1, [1, 2], [0, 2], [0, 1, 2]])
def test_reductions(run, single, op, function, axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6))
    wanted = function(x, axis=tuple(a + 1 for a in np.atleast_1d(axis)), keepdims=True)
    result = run(single(op, (4, 6, 5), axis=axis), x, dtype="float64")
    np.testing.assert_allclose(result, wanted, rtol=1e-13, atol=1e-14)


def test_a_gradient_is_shared_between_equal_maxima(backend, single):
    model = backend.compile(single("max", (4, 2, 2), axis=0), dtype="float64")
    images = tf.ones((1, 2, 2, 4), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(model(images))
    assert set(tape.gradient(total, images).numpy().ravel()) == {0.25}
