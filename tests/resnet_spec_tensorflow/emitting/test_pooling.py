"""Pools at odd and even sizes, against their definition as loops over windows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

SIZES = [(4, 5), (5, 6), (6, 7), (7, 4)]
POOLS = [
    ((2, 2), (2, 2), ((0, 0), (0, 0))),
    ((3, 3), (2, 2), ((0, 0), (0, 0))),
    ((3, 3), (2, 2), ((1, 1), (1, 1))),
    ((3, 3), (1, 1), ((1, 1), (1, 1))),
    ((3, 2), (2, 3), ((0, 1), (1, 0))),
    ((2, 3), (3, 3), ((1, 1), (0, 1))),
    ((1, 2), (2, 1), ((0, 0), (1, 1))),
    ((4, 2), (3, 4), ((2, 1), (1, 1))),
]
SAME = [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((2, 4), (1, 1)), ((4, 3), (3, 2)), ((1, 2), (3, 2))]


def counting(size, start=0, sign=1):
    """A map whose values count its positions, row by row."""
    return sign * np.arange(start, start + size * size, dtype=np.float32).reshape(1, 1, size, size)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def spans(size, kernel, stride, padding, ceil_mode):
    """(first, last + 1) of each window in rows of the input, and of the rows that are padded explicitly."""
    if padding == "same":
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        padding = total // 2, total - total // 2
    before, after = padding
    windows, start = [], -before
    while start + kernel <= size + after or (ceil_mode and start + kernel < size + after + stride and start < size):
        windows.append((start, start + kernel))
        start += stride
    return windows, (-before, size + after)


def pooled(x, reduce, kernel, stride, padding, ceil_mode=False):
    """``reduce`` of each window's part of the input, given the product of the padded rows and columns it covers."""
    paddings = ("same", "same") if padding == "same" else padding
    axes = [spans(*axis, ceil_mode) for axis in zip(x.shape[2:], kernel, stride, paddings, strict=True)]
    outputs = np.empty((*x.shape[:2], *(len(windows) for windows, _ in axes)))
    for (i, rows), (j, columns) in product(*(enumerate(windows) for windows, _ in axes)):
        part = x[:, :, max(rows[0], 0) : rows[1], max(columns[0], 0) : columns[1]]
        covered = [min(w[1], end) - w[0] for w, (_, (_, end)) in zip((rows, columns), axes, strict=True)]
        outputs[:, :, i, j] = reduce(part, covered[0] * covered[1])
    return outputs


def largest(part, _):
    return part.max((2, 3))


def mean_of_all(part, covered):
    return part.sum((2, 3)) / covered


def mean_of_inputs(part, _):
    return part.mean((2, 3))


@pytest.mark.parametrize(
    ("size", "padding", "expected"),
    [
        (4, 1, [[-1, -2], [-5, -6]]),
        (4, "same", [[-1, -3], [-9, -11]]),
        (4, 0, [[-1]]),
        (5, 1, [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]]),
        (5, "same", [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]]),
        (4, ((0, 1), (1, 0)), [[-1, -2], [-9, -10]]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_pool_padding_never_wins_over_negative_values(run, single, size, padding, expected, dtype):
    graph = single("max_pool2d", (1, size, size), kernel=3, stride=2, padding=padding)
    assert run(graph, counting(size, start=1, sign=-1), dtype=dtype)[0, 0].tolist() == expected


def test_max_pool_of_stride_1_pads_within_the_layer(backend, make, single):
    model = make(single("max_pool2d", kernel=3, stride=1, padding=1))
    y = backend.forward(model, counting(4, start=1, sign=-1))[0]
    assert y[0, 0].tolist() == [[-1, -1, -2, -3], [-1, -1, -2, -3], [-5, -5, -6, -7], [-9, -9, -10, -11]]
    assert [operation.name for operation in model.operations] == ["input", "x"]


def test_max_pool_after_relu_is_all_layers(backend, make, builder):
    b = builder(1, 4, 4)
    b("relu", "relu", "input")
    b("pool", "max_pool2d", "relu", kernel=3, stride=2, padding=1)
    model = make(b.graph())
    assert [layer.name for layer in model.layers] == ["input", "relu", "pool.pad", "pool"]
    assert backend.forward(model, counting(4))[0][0, 0].tolist() == [[5, 7], [13, 15]]


def test_max_pool_called_after_a_relu_and_without_one(backend, make, builder):
    b = builder(1, 4, 4)
    b("relu", "relu", "input")
    b("pool", "max_pool2d", "relu", kernel=3, stride=2, padding=1)
    b("again", "max_pool2d", "input", kernel=3, stride=2, padding=1, calls="pool")
    first, second = backend.forward(make(b.graph("pool", "again")), counting(4, start=1, sign=-1))
    assert first[0, 0].tolist() == [[0, 0], [0, 0]]
    assert second[0, 0].tolist() == [[-1, -2], [-5, -6]]


def test_global_average_keeps_a_map(run, single):
    y = run(single("global_avg_pool", (2, 2, 2)), np.arange(8).reshape(1, 2, 2, 2))
    assert y.tolist() == [[[[1.5]], [[5.5]]]]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil_mode"),
    [(*pool, ceil_mode) for pool in POOLS for ceil_mode in (False, True)] + [(*pool, "same", False) for pool in SAME],
)
@pytest.mark.parametrize(
    ("op", "fields", "reduce"),
    [
        ("max_pool2d", {}, largest),
        ("avg_pool2d", {"count_include_pad": True}, mean_of_all),
        ("avg_pool2d", {"count_include_pad": False}, mean_of_inputs),
    ],
)
def test_pools(backend, make, single, op, fields, reduce, kernel, stride, padding, ceil_mode):
    graph = single(op, (2, 6, 6), kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, **fields)
    model = make(graph, dtype="float64")
    for size in SIZES:
        x = normal(2, 2, *size) - 3
        expected = pooled(x, reduce, kernel, stride, padding, ceil_mode)
        assert expected.shape[1:] == graph.at_size(*size).nodes[-1].shape
        close(backend.forward(model, x)[0], expected)


@pytest.mark.parametrize(
    ("op", "fields", "names"),
    [
        ("avg_pool2d", {"kernel": 2, "ceil_mode": True}, ["x"]),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": False}, ["x"]),
        ("avg_pool2d", {"kernel": 3, "stride": 1, "padding": 1, "count_include_pad": False}, ["x"]),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True}, ["x.pad", "x"]),
        ("avg_pool2d", {"kernel": 4, "stride": 1, "padding": "same", "count_include_pad": True}, ["x.pad", "x"]),
        ("max_pool2d", {"kernel": 2, "ceil_mode": True}, ["x"]),
        ("max_pool2d", {"kernel": 3, "stride": 2, "ceil_mode": True}, ["x.pad", "x"]),
    ],
)
def test_pools_that_are_stock_layers(backend, single, op, fields, names):
    operations = backend.compile(single(op, (1, 6, 6), **fields)).operations
    assert [operation.name for operation in operations] == ["input", *names]
    assert {type(operation).__module__.split(".")[0] for operation in operations} == {"keras"}


def test_a_rounded_up_max_pool_after_relu_is_all_layers(backend, make, builder):
    b = builder(1, 6, 7)
    b("relu", "relu", "input")
    b("pool", "max_pool2d", "relu", kernel=3, stride=2, ceil_mode=True)
    model = make(b.graph(), dtype="float64")
    assert [layer.name for layer in model.layers] == ["input", "relu", "pool.pad", "pool"]
    x = normal(1, 1, 6, 7)
    close(backend.forward(model, x)[0], pooled(np.maximum(x, 0), largest, (3, 3), (2, 2), ((0, 0), (0, 0)), True))


def test_global_maximum_keeps_a_map(run, single):
    x = normal(2, 3, 4, 5)
    close(run(single("global_max_pool", (3, 4, 5)), x, dtype="float64"), x.max((2, 3), keepdims=True))


def test_gem_pool(run, single):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    p = np.array([2.5])
    wanted = (np.maximum(x, 0.1) ** p).mean((2, 3), keepdims=True) ** (1 / p)
    result = run(single("gem_pool", (3, 8, 8), epsilon=0.1), x, {"x.p": p}, dtype="float64")
    np.testing.assert_allclose(result, wanted, rtol=1e-13)
