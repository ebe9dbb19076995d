"""Each operation against values worked out by hand; what frameworks disagree on is at odd and even sizes."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.errors import BackendError
from resnet_spec.operations import OPERATIONS

ONES = {"x.weight": np.ones((1, 1, 3, 3), np.float32)}


def counting(size, start=0, sign=1):
    """A map whose values count its positions, row by row."""
    return sign * np.arange(start, start + size * size, dtype=np.float32).reshape(1, 1, size, size)


def test_every_operation_has_an_emitter_and_every_emitter_an_operation(backend):
    from resnet_spec_tensorflow.emitters import EMITTERS

    assert EMITTERS.keys() - OPERATIONS.keys() == set(), "spurious"
    assert OPERATIONS.keys() - EMITTERS.keys() == set(), "missing"


def test_a_second_emitter_is_refused(backend):
    from resnet_spec_tensorflow.emitters import EMITTERS

    before = dict(EMITTERS)
    with pytest.raises(ValueError, match="'conv2d' has two emitters"):
        EMITTERS.register("conv2d")(lambda op, site: ())
    assert before == EMITTERS


def test_an_operation_without_an_emitter_is_told_by_name(backend, single, monkeypatch):
    from resnet_spec_tensorflow import emitters

    monkeypatch.setattr(emitters, "EMITTERS", {op: emit for op, emit in emitters.EMITTERS.items() if op != "relu"})
    with pytest.raises(BackendError, match="x: the tensorflow backend has no relu"):
        backend.compile(single("relu"))


# ---------------------------------------------------------------------------------------------------------------
# Convolutions: sums over 3×3 windows of a map that counts


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


def test_strided_and_dilated_convolution_is_told_by_name(backend, single):
    with pytest.raises(BackendError, match=r"x: .* both strided and dilated"):
        backend.compile(single("conv2d", (1, 9, 9), channels=1, kernel=3, stride=2, dilation=2))


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


# ---------------------------------------------------------------------------------------------------------------
# Pools and pads


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


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_pad_puts_the_value_on_the_sides_it_says(run, single, value):
    y = run(single("pad2d", (1, 2, 2), padding=((1, 0), (0, 2)), value=value), counting(2, start=1))
    v = value
    assert y[0, 0].tolist() == [[v, v, v, v], [1, 2, v, v], [3, 4, v, v]]


def test_pad_called_twice(backend, make, builder):
    b = builder(1, 1, 1)
    b("pad", "pad2d", "input", padding=((0, 0), (1, 0)), value=7.0)
    b("again", "pad2d", "pad", padding=((0, 0), (1, 0)), value=7.0, calls="pad")
    assert backend.forward(make(b.graph()), np.ones((1, 1, 1, 1)))[0].ravel().tolist() == [7, 7, 1]


def test_names_of_paddings_give_way_to_names_of_nodes(backend, builder):
    b = builder()
    b("pad", "pad2d", "input", padding=1, value=1.0)
    b("x.pad", "conv2d", "pad", channels=2, kernel=3, stride=2, padding=1)
    b("x", "max_pool2d", "x.pad", kernel=3, stride=2, padding=1)
    model = backend.compile(b.graph())
    names = [operation.name for operation in model.operations]
    assert names == ["input", "pad", "x.pad.pad", "x.pad", "x.pad_", "x"]


def test_global_average_keeps_a_map(run, single):
    y = run(single("global_avg_pool", (2, 2, 2)), np.arange(8).reshape(1, 2, 2, 2))
    assert y.tolist() == [[[[1.5]], [[5.5]]]]


# ---------------------------------------------------------------------------------------------------------------
# The others


def test_flatten_orders_channels_first(run, single):
    x = np.arange(12).reshape(1, 2, 2, 3)
    assert run(single("flatten", (2, 2, 3)), x).tolist() == [list(range(12))]


def test_flatten_of_what_is_always_a_vector_needs_no_permutation(backend, small_resnet):
    assert "flatten.permute" not in {layer.name for layer in backend.compile(small_resnet()).layers}


def test_flatten_of_a_vector(run, builder):
    b = builder(2, 1, 2)
    b("flatten", "flatten", "input")
    b("again", "flatten", "flatten")
    assert run(b.graph(), np.arange(4).reshape(1, 2, 1, 2)).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("shape", [(2, 3, 4), (24, 1, 1), (1, 6, 4), (1, 1, 24)])
@pytest.mark.parametrize("target", [(24,), (4, 6), (1, 24), (24, 1), (4, 3, 2), (24, 1, 1), (1, 4, 6)])
@pytest.mark.parametrize("through", [(3, 8), None])
def test_reshape_keeps_the_order_of_channels_first(backend, make, builder, shape, target, through):
    b = builder(*shape)
    before = b("line", "reshape", "input", shape=through) if through else "input"
    b("x", "reshape", before, shape=target)
    b("flatten", "flatten", "x")
    first, second = backend.forward(make(b.graph("x", "flatten")), np.arange(48).reshape(2, *shape))
    assert np.array_equal(first, np.arange(48).reshape(2, *target))
    assert np.array_equal(second, np.arange(48).reshape(2, 24))


def test_reshapes_permute_only_where_that_changes_something(backend, builder):
    b = builder(4, 5, 6)
    b("pool", "global_avg_pool", "input")
    b("line", "reshape", "pool", shape=(1, 4))
    b("map", "reshape", "line", shape=(4, 1, 1))
    b("square", "reshape", "map", shape=(1, 2, 2))
    b("other", "reshape", "square", shape=(2, 2))
    b("last", "reshape", "other", shape=(2, 1, 2))
    names = [layer.name for layer in backend.compile(b.graph()).layers]
    assert names == [
        *("input", "pool", "line", "map", "square", "other.reshape", "other"),
        *("last.permute", "last.reshape", "last"),
    ]


def test_a_layer_for_values_of_different_ranks_is_told(backend, builder):
    b = builder(2, 2, 2)
    b("flatten", "flatten", "input")
    b("again", "flatten", "flatten", calls="flatten")
    with pytest.raises(BackendError, match="flatten: Keras calls no layer on values of different ranks"):
        backend.compile(b.graph())


def test_linear_after_a_map_reads_channels_first(run, builder):
    b = builder(2, 2, 2)
    b("flatten", "flatten", "input")
    b("fc", "linear", "flatten", features=1)
    weight = 10.0 ** np.arange(8).reshape(1, 8)
    y = run(b.graph(), np.arange(8).reshape(1, 2, 2, 2), {"fc.weight": weight, "fc.bias": np.zeros(1)}, dtype="float64")
    assert y.tolist() == [[76543210]]


def test_batch_norm_in_inference(run, single):
    graph = single("batch_norm", (2, 1, 1), epsilon=0.5, momentum=0.1, running_variance="biased")
    arrays = {"x.weight": [2, 3], "x.bias": [1, -1], "x.running_mean": [1, 2], "x.running_var": [3.5, 0.5]}
    y = run(graph, np.array([[[[5]], [[6]]]]), arrays, dtype="float64")
    np.testing.assert_allclose(y.ravel(), [2 * 4 / 2 + 1, 3 * 4 / 1 - 1], rtol=1e-15)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_norm_without_scale_or_offset(backend, run, single, scale, offset):
    graph = single("batch_norm", (1, 1, 1), epsilon=0.5, scale=scale, offset=offset)
    arrays = {"x.weight": [2], "x.bias": [1], "x.running_mean": [1], "x.running_var": [3.5]}
    arrays = {p.name: arrays[p.name] for p in graph.parameters()}
    assert run(graph, [[[[5]]]], arrays).item() == 2 * (1 + scale) + offset


def test_momentum_counts_the_other_way_round(backend, single):
    layer = backend.compile(single("batch_norm", momentum=0.01)).get_layer("x")
    assert layer.momentum == 0.99


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


def test_joins(run, builder):
    b = builder(2, 2, 2)
    b("gate", "global_avg_pool", "input")
    b("product", "multiply", "input", "gate")
    b("sum", "add", "input", "product", "input")
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    expected = 2 * x + x * np.array([1.5, 5.5]).reshape(1, 2, 1, 1)
    assert run(b.graph(), x).tolist() == expected.tolist()
