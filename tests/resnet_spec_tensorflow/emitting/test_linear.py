"""Linear layers against products computed by hand."""

from __future__ import annotations

import numpy as np
import pytest


def test_linear_after_a_map_reads_channels_first(run, builder):
    b = builder(2, 2, 2)
    b("flatten", "flatten", "input")
    b("fc", "linear", "flatten", features=1)
    weight = 10.0 ** np.arange(8).reshape(1, 8)
    y = run(b.graph(), np.arange(8).reshape(1, 2, 2, 2), {"fc.weight": weight, "fc.bias": np.zeros(1)}, dtype="float64")
    assert y.tolist() == [[76543210]]


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2), (2, 3, 2, 2)])
def test_the_last_axis_of_a_value_of_several_axes(shape, run, builder, images):
    b = builder(4, 2, 3)
    b("values", "reshape", "input", shape=shape)
    b("fc", "linear", "values", features=5)
    x = images(3, 4, 2, 3).astype(np.float64)
    weight, bias = (images(*size, seed=2).astype(np.float64) for size in ((5, shape[-1]), (5,)))
    result = run(b.graph(), x, {"fc.weight": weight, "fc.bias": bias}, dtype="float64")
    np.testing.assert_allclose(result, x.reshape(3, *shape) @ weight.T + bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 5), (2, 3, 3), (2, 3, 4, 4)])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("broadcast", [False, True])
def test_products_of_two_values(shape, first, second, broadcast, run, builder, images):
    size = int(np.prod(shape))
    b = builder(features=size)
    b("a", "reshape", "input", shape=shape)
    b("gate", "sigmoid", "a")
    one = b("one", "slice", "a", stop=1) if broadcast and len(shape) > 2 else "a"
    b("x", "matmul", one, "gate", transpose_first=first, transpose_second=second, factor=0.25)
    x = images(2, size).astype(np.float64)
    a, c = x.reshape(2, *shape), 1 / (1 + np.exp(-x.reshape(2, *shape)))
    a = a[:, :1] if broadcast and len(shape) > 2 else a
    wanted = (a.swapaxes(-1, -2) if first else a) @ (c.swapaxes(-1, -2) if second else c) / 4
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), wanted, rtol=0, atol=1e-12)
