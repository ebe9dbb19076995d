"""Windows that slide, grow or pad: each against loops in NumPy, at even and odd sizes, in float64."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from resnet_spec.errors import BackendError

SIZES = [(4, 5), (5, 6), (6, 7), (7, 4)]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# Convolutions


@pytest.mark.parametrize(
    "fields",
    [
        {"stride": 2, "padding": 1, "groups": 2, "bias": True},
        {"padding": "same", "stride": (1, 2)},
        {"padding": 2, "dilation": 2},
        {"padding": ((0, 1), (2, 1))},
    ],
)
@pytest.mark.parametrize("epsilon", [1e-10, 0.1])
def test_a_standardized_convolution_is_one_of_the_standardized_kernel(run, single, fields, epsilon):
    shape = (4, 7, 6)
    fields = {"channels": 6, "kernel": (3, 2), **fields}
    graph = single("std_conv2d", shape, epsilon=epsilon, **fields)
    arrays = {p.name: normal(*p.shape, seed=1) for p in graph.parameters()}
    kernel = arrays["x.weight"].reshape(6, -1)
    standardized = (kernel - kernel.mean(1, keepdims=True)) / np.sqrt(kernel.var(1, keepdims=True) + epsilon)
    plain = arrays | {"x.weight": standardized.reshape(arrays["x.weight"].shape)}
    x = normal(2, *shape)
    expected = run(single("conv2d", shape, **fields), x, plain, dtype="float64")
    close(run(graph, x, arrays, dtype="float64"), expected)


def test_strided_and_dilated_is_told_of_a_standardized_convolution_too(backend, single):
    graph = single("std_conv2d", (1, 9, 9), channels=1, kernel=3, stride=2, dilation=2, epsilon=1e-5)
    with pytest.raises(BackendError, match=r"x: .* both strided and dilated"):
        backend.compile(graph)


def transposed(x, weight, stride, padding):
    """Each input value adds its multiple of the kernel (in, out, height, width) to the output, which is cropped."""
    size = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    spans = [k - s for k, s in zip(weight.shape[2:], stride, strict=True)]
    if padding == "same":
        padding = [(max(span, 0) // 2, 0) for span in spans]
    else:
        size = [n + span - sum(edges) for n, span, edges in zip(size, spans, padding, strict=True)]
    grown = np.zeros((x.shape[0], weight.shape[1], 40, 40))
    for i, j in product(*map(range, x.shape[2:])):
        rows, columns = (slice(n * s, n * s + k) for n, s, k in zip((i, j), stride, weight.shape[2:], strict=True))
        grown[:, :, rows, columns] += np.einsum("nc,cohw->nohw", x[:, :, i, j], weight)
    (top, _), (left, _) = padding
    return grown[:, :, top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "layers"),
    [
        ((4, 4), (2, 2), ((1, 1), (1, 1)), ["x"]),
        ((3, 2), (1, 2), "same", ["x"]),
        ((2, 1), (3, 4), "same", ["x"]),
        ((5, 4), (2, 3), "same", ["x"]),
        ((2, 1), (3, 4), ((0, 0), (0, 0)), ["x"]),
        ((3, 4), (2, 2), ((0, 0), (0, 0)), ["x"]),
        ((3, 3), (2, 2), ((0, 1), (0, 1)), ["x"]),
        ((3, 3), (2, 2), ((1, 0), (1, 2)), ["x", "x.crop"]),
        ((2, 5), (3, 1), ((1, 0), (2, 3)), ["x", "x.crop"]),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolution(backend, make, single, kernel, stride, padding, layers, bias):
    graph = single("conv_transpose2d", (3, 4, 5), channels=2, kernel=kernel, stride=stride, padding=padding, bias=bias)
    arrays = {p.name: normal(*p.shape, seed=1) for p in graph.parameters()}
    model = make(graph, arrays, dtype="float64")
    assert [layer.name for layer in model.layers] == ["input", *layers]
    offset = arrays["x.bias"].reshape(2, 1, 1) if bias else 0
    for size in SIZES:
        x = normal(2, 3, *size)
        expected = transposed(x, arrays["x.weight"], stride, padding) + offset
        assert expected.shape[1:] == graph.at_size(*size).nodes[-1].shape
        close(backend.forward(model, x)[0], expected)


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 0), (2, 1), (4, 3), (3, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_along_one_axis(run, builder, kernel, padding, bias):
    b = builder(2, 3, 2)
    b("line", "reshape", "input", shape=(2, 6))
    b("x", "conv1d", "line", channels=3, kernel=kernel, padding=padding, bias=bias)
    graph = b.graph()
    arrays = {p.name: normal(*p.shape, seed=1) for p in graph.parameters()}
    x = normal(2, 2, 3, 2)
    line = np.pad(x.reshape(2, 2, 6), ((0, 0), (0, 0), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(line, kernel, axis=2)
    offset = arrays["x.bias"][:, None] if bias else 0
    close(run(graph, x, arrays, dtype="float64"), np.einsum("nclk,ock->nol", windows, arrays["x.weight"]) + offset)


# ---------------------------------------------------------------------------------------------------------------
# Pools


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


# ---------------------------------------------------------------------------------------------------------------
# Paddings


@pytest.mark.parametrize("size", SIZES)
def test_a_reflecting_pad_mirrors_in_the_edge(run, single, size):
    padding = ((3, 1), (0, 2))
    x = normal(2, 3, *size)
    y = run(single("pad2d", (3, 5, 5), padding=padding, mode="reflect"), x, dtype="float64")
    close(y, np.pad(x, ((0, 0), (0, 0), *padding), mode="reflect"))


def test_a_reflecting_pad_called_twice(run, builder):
    b = builder(1, 3, 3)
    b("pad", "pad2d", "input", padding=1, mode="reflect")
    b("again", "pad2d", "pad", padding=1, mode="reflect", calls="pad")
    x = normal(1, 1, 3, 3)
    once = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    close(run(b.graph(), x, dtype="float64"), np.pad(once, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect"))


@pytest.mark.parametrize(("before", "after"), [(0, 2), (3, 0), (1, 2), (0, 0)])
def test_padded_channels(run, single, before, after):
    x = normal(2, 3, 4, 5)
    y = run(single("pad_channels", (3, 4, 5), before=before, after=after), x, dtype="float64")
    close(y, np.pad(x, ((0, 0), (before, after), (0, 0), (0, 0))))
