"""Activations and softmax against their formulas."""

from __future__ import annotations

import numpy as np


def test_activations(run, single):
    x = np.array([[[[-1.0, 0.0, 2.0]]]])
    assert run(single("relu", (1, 1, 3)), x).ravel().tolist() == [0, 0, 2]
    np.testing.assert_allclose(
        run(single("sigmoid", (1, 1, 3)), x, dtype="float64").ravel(), 1 / (1 + np.exp(-x.ravel())), rtol=1e-14
    )


def test_softmax(run, builder):
    b = builder(3, 1, 1)
    b("flatten", "flatten", "input")
    b("softmax", "softmax", "flatten")
    x = np.log([1.0, 2.0, 5.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), [[0.125, 0.25, 0.625]], rtol=1e-14)
