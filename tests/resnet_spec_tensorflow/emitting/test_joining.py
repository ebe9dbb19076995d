"""Operations of several inputs."""

from __future__ import annotations

import numpy as np
import pytest


def test_joins(run, builder):
    b = builder(2, 2, 2)
    b("gate", "global_avg_pool", "input")
    b("product", "multiply", "input", "gate")
    b("sum", "add", "input", "product", "input")
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    expected = 2 * x + x * np.array([1.5, 5.5]).reshape(1, 2, 1, 1)
    assert run(b.graph(), x).tolist() == expected.tolist()


@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (3, 4, 7, 8)])
def test_a_constant_factor(run, builder, shape):
    b = builder(*shape[1:])
    b("one", "multiply", "input", factor=0.2)
    b("x", "multiply", "one", "input", factor=-1.7)
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), x * 0.2 * x * -1.7, rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (3, 4, 7, 8)])
def test_broadcasting(run, builder, shape):
    b = builder(*shape[1:])
    b("row", "slice", "input", axis=1, start=2, stop=3)
    b("channel", "slice", "input", stop=1)
    b("difference", "subtract", "row", "channel")
    b("sum", "add", "row", "input", "difference")
    b("most", "maximum", "channel", "sum", "row")
    x = np.random.default_rng(0).standard_normal(shape)
    total = x[:, :, 2:3] + x + (x[:, :, 2:3] - x[:, :1])
    wanted = np.maximum(np.maximum(x[:, :1], total), x[:, :, 2:3])
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), wanted, rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [(4, 4), (7, 6)])
def test_concat(run, builder, axis, size):
    b = builder(3, 4, 4)
    b("a", "relu", "input")
    b("x", "concat", "input", "a", "input", axis=axis)
    x = np.random.default_rng(0).standard_normal((2, 3, *size))
    wanted = np.concatenate([x, np.maximum(x, 0), x], axis + 1)
    np.testing.assert_array_equal(run(b.graph(), x, dtype="float64"), wanted)


def test_concat_of_vectors_and_rows(run, builder):
    b = builder(2, 2, 3)
    b("row", "reshape", "input", shape=(4, 3))
    b("rows", "concat", "row", "row", axis=1)
    b("flat", "flatten", "rows")
    b("x", "concat", "flat", "flat")
    x = np.arange(12.0).reshape(1, 2, 2, 3)
    rows = np.concatenate([x.reshape(1, 4, 3)] * 2, 2).reshape(1, 24)
    assert run(b.graph(), x).tolist() == np.concatenate([rows, rows], 1).tolist()
