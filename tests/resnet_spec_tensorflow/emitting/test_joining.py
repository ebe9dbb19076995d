"""Sums and products of several inputs."""

from __future__ import annotations

import numpy as np


def test_joins(run, builder):
    b = builder(2, 2, 2)
    b("gate", "global_avg_pool", "input")
    b("product", "multiply", "input", "gate")
    b("sum", "add", "input", "product", "input")
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    expected = 2 * x + x * np.array([1.5, 5.5]).reshape(1, 2, 1, 1)
    assert run(b.graph(), x).tolist() == expected.tolist()
