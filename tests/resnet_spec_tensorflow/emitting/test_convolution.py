"""Convolutions at odd and even sizes, against matrices computed by hand and against NumPy."""

from __future__ import annotations

from itertools import product

import keras
import numpy as np
import pytest

ONES = {"x.weight": np.ones((1, 1, 3, 3), np.float32)}
SIZES = [(4, 5), (5, 6), (6, 7), (7, 4)]


def counting(size, start=0, sign=1):
    """A map whose values count its positions, row by row."""
    return sign * np.arange(start, start + size * size, dtype=np.float32).reshape(1, 1, size, size)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize(
    ("size", "padding", "expected"),
    [
        (4, 1, [[10, 24], [51, 90]]),
        (4, "same", [[45, 39], [66, 50]]),
        (5, 1, [[12, 27, 24], [63, 108, 81], [72, 117, 84]]),
        (5, "same", [[12, 27, 24], [63, 108, 81], [72, 117, 84]]),
        (5, 0, [[54, 72], [144, 162]]),
        (4, ((0, 1), (0, 1)), [[45, 39], [66, 50]]),
        (4, ((1, 0), (0, 1)), [[18, 18], [81, 63]]),
    ],
)
def test_strided_convolution_pads_as_the_graph_says(run, single, size, padding, expected):
    graph = single("conv2d", (1, size, size), channels=1, kernel=3, stride=2, padding=padding)
    assert run(graph, counting(size), ONES)[0, 0].tolist() == expected


@pytest.mark.parametrize("padding", [1, "same"])
def test_convolution_of_stride_1_pads_symmetrically(backend, make, single, padding):
    graph = single("conv2d", channels=1, kernel=3, padding=padding)
    model = make(graph, ONES)
    expected = [[10, 18, 24, 18], [27, 45, 54, 39], [51, 81, 90, 63], [42, 66, 72, 50]]
    assert backend.forward(model, counting(4))[0][0, 0].tolist() == expected
    # Without a layer of its own for the padding.
    assert [layer.name for layer in model.layers] == ["input", "x"]


def test_dilated_convolution(run, single):
    graph = single("conv2d", (1, 5, 5), channels=1, kernel=3, padding=2, dilation=2)
    # Corners of the 5×5 map, edge middles, center.
    assert run(graph, counting(5), ONES)[0, 0, 2, 2] == 12 * 9
    assert run(graph, counting(5), ONES)[0, 0, 0, 0] == 0 + 2 + 10 + 12


def test_dilation_along_a_kernel_of_one_row_changes_nothing(run, single):
    graph = single("conv2d", channels=1, kernel=1, stride=2, dilation=2)
    assert run(graph, counting(4), {"x.weight": np.ones((1, 1, 1, 1))})[0, 0].tolist() == [[0, 2], [8, 10]]


def convolved(x, weight, stride, dilation, edges):
    """The sum over each window, whose values lie a dilation apart and whose corners lie a stride apart."""
    x = np.pad(x, ((0, 0), (0, 0), *edges))
    (height, width), (down, right), (across, along) = weight.shape[2:], stride, dilation
    spans = ((height - 1) * across + 1, (width - 1) * along + 1)
    rows, columns = ((n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride, strict=True))
    y = np.zeros((x.shape[0], weight.shape[0], rows, columns))
    for i, j in product(range(rows), range(columns)):
        window = x[:, :, i * down :, j * right :][:, :, : spans[0] : across, : spans[1] : along]
        y[:, :, i, j] = np.einsum("nchw,ochw->no", window, weight)
    return y


def same(sizes, kernel, stride, dilation):
    """TensorFlow's padding: as many windows as strides fit, the rows too many after the map."""
    spans = [
        (-(-n // s) - 1) * s + (k - 1) * d + 1 - n for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    return [(max(span, 0) // 2, max(span, 0) - max(span, 0) // 2) for span in spans]


@pytest.mark.parametrize("size", [(9, 12), (12, 9), (13, 14)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((2, 1), (0, 3)), "same"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [
        ((3, 3), (2, 2), (2, 2)),
        ((3, 2), (2, 3), (4, 3)),
        ((2, 3), (3, 2), (2, 3)),
        ((3, 3), (4, 4), (2, 2)),
        ((3, 3), (1, 2), (2, 1)),
        ((3, 1), (6, 2), (4, 5)),
    ],
)
def test_convolution_that_is_strided_and_dilated(run, single, kernel, stride, dilation, padding, size):
    fields = {"channels": 2, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    x, weight = normal(2, 3, *size), normal(2, 3, *kernel, seed=1)
    seen = [d if k > 1 else 1 for k, d in zip(kernel, dilation, strict=True)]
    edges = same(size, kernel, stride, seen) if padding == "same" else padding
    y = run(single("conv2d", (3, *size), **fields), x, {"x.weight": weight}, dtype="float64")
    close(y, convolved(x, weight, stride, seen, edges))


def test_a_strided_and_dilated_convolution_runs_at_any_size(make, backend, single):
    graph = single("conv2d", (1, 9, 9), channels=1, kernel=3, stride=2, dilation=3, padding="same")
    model = make(graph, ONES, dtype="float64")
    for size in (9, 10, 14):
        x = normal(1, 1, size, size)
        edges = same((size, size), (3, 3), (2, 2), (3, 3))
        close(backend.forward(model, x)[0], convolved(x, ONES["x.weight"], (2, 2), (3, 3), edges))


def test_what_stride_and_dilation_share_is_not_computed(make, single):
    model = make(single("conv2d", (1, 9, 9), channels=1, kernel=3, stride=2, dilation=2), ONES)
    assert [layer.name for layer in model.layers] == ["input", "x.stride", "x"]
    assert (model.get_layer("x").strides, model.get_layer("x").dilation_rate) == ((1, 1), (1, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [1, 2])
def test_grouped_convolution_keeps_groups_apart(run, single, images, dtype, stride):
    whole = single("conv2d", (4, 5, 5), channels=6, kernel=3, stride=stride, padding=1, groups=2)
    half = single("conv2d", (2, 5, 5), channels=3, kernel=3, stride=stride, padding=1)
    x, kernel = images(2, 4, 5, 5), images(6, 2, 3, 3, seed=2)
    y = run(whole, x, {"x.weight": kernel}, dtype=dtype)
    halves = [run(half, x[:, 2 * i :][:, :2], {"x.weight": kernel[3 * i :][:3]}, dtype=dtype) for i in (0, 1)]
    assert y.dtype == dtype
    np.testing.assert_allclose(y, np.concatenate(halves, axis=1), rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


def test_kernels_are_laid_out_out_in_height_width(run, single):
    kernel = np.zeros((3, 2, 1, 2), np.float32)
    kernel[2, 1, 0, 1] = 1
    x = np.arange(2 * 2 * 3, dtype=np.float32).reshape(1, 2, 2, 3)
    y = run(
        single("conv2d", (2, 2, 3), channels=3, kernel=(1, 2), bias=True), x, {"x.weight": kernel, "x.bias": [1, 2, 3]}
    )
    assert y[0].tolist() == [[[1, 1], [1, 1]], [[2, 2], [2, 2]], [[10, 11], [13, 14]]]


@pytest.mark.parametrize(
    "fields",
    [
        {"stride": 2, "padding": 1, "groups": 2, "bias": True},
        {"padding": "same", "stride": (1, 2)},
        {"padding": 2, "dilation": 2},
        {"padding": 2, "dilation": 2, "stride": (2, 3)},
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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_files_keep_the_gain_of_a_standardized_kernel(bias, ending, backend, make, single, images, tmp_path):
    fields = {"channels": 4, "kernel": 3, "epsilon": 1e-6, "gain": True, "gamma": 1.7, "bias": bias}
    graph = single("std_conv2d", (3, 6, 6), **fields)
    model, fresh = make(graph), backend.compile(graph)
    path = tmp_path / f"model{ending}"
    if ending == ".keras":
        model.save(path)
        fresh = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        fresh.load_weights(path)
    x = np.moveaxis(images(1, 3, 6, 6), 1, -1)
    assert np.array_equal(fresh(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("groups", [1, 2])
def test_a_gain_multiplies_the_standardized_kernel(groups, run, single, images):
    x = images(2, 4, 3, 3).astype(np.float64)
    kernel = images(6, 4 // groups, 3, 3, seed=2).astype(np.float64)
    gain = np.linspace(0.5, 1.5, 6).reshape(6, 1, 1, 1)
    fields = {"channels": 6, "kernel": 3, "groups": groups, "epsilon": 1e-3, "gain": True, "gamma": 1.7}
    result = run(single("std_conv2d", (4, 3, 3), **fields), x, {"x.weight": kernel, "x.gain": gain}, dtype="float64")
    axes = (1, 2, 3)
    plain = (kernel - kernel.mean(axes, keepdims=True)) / np.sqrt(kernel.var(axes, keepdims=True) + 1e-3)
    scaled = plain * gain * 1.7 / np.sqrt(kernel[0].size)
    grouped = x.reshape(2, groups, -1)
    wanted = np.einsum("ngi,goi->ngo", grouped, scaled.reshape(groups, 6 // groups, -1)).reshape(2, 6)
    np.testing.assert_allclose(result[:, :, 0, 0], wanted, rtol=0, atol=1e-12)
