"""Pads, reshapes and slices keep the order of channels, rows and columns."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.errors import BackendError

SIZES = [(4, 5), (5, 6), (6, 7), (7, 4)]


def counting(size, start=0, sign=1):
    """A map whose values count its positions, row by row."""
    return sign * np.arange(start, start + size * size, dtype=np.float32).reshape(1, 1, size, size)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


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


def test_flatten_orders_channels_first(run, single):
    x = np.arange(12).reshape(1, 2, 2, 3)
    assert run(single("flatten", (2, 2, 3)), x).tolist() == [list(range(12))]


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 4, 5)])
@pytest.mark.parametrize("axis", [1, 2])
def test_flatten_of_the_last_axes_keeps_their_order(run, single, shape, axis):
    x = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    assert run(single("flatten", shape, axis=axis), x).tolist() == x.reshape(2, *shape[:axis], -1).tolist()


def test_flatten_of_positions_runs_at_any_size(make, backend, single):
    model = make(single("flatten", (2, 4, 5), axis=1))
    x = np.arange(2 * 3 * 7).reshape(1, 2, 3, 7)
    assert backend.forward(model, x)[0].tolist() == x.reshape(1, 2, 21).tolist()


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


def test_a_layer_for_values_of_different_ranks_is_reported(backend, builder):
    b = builder(2, 2, 2)
    b("flatten", "flatten", "input")
    b("again", "flatten", "flatten", calls="flatten")
    with pytest.raises(BackendError, match="flatten: a Keras layer cannot be called on values of different ranks"):
        backend.compile(b.graph())


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


SLICES = {
    "from": ({"start": 1}, np.s_[:, 1:]),
    "to": ({"axis": 1, "stop": 3}, np.s_[:, :, :3]),
    "between": ({"axis": 2, "start": 1, "stop": 4}, np.s_[..., 1:4]),
    "part": ({"part": 1, "parts": 2}, np.s_[:, 2:]),
    "part of rows": ({"axis": 1, "part": 1, "parts": 3}, np.s_[:, :, 2:4]),
}


@pytest.mark.parametrize("case", SLICES)
def test_slice(run, single, case):
    fields, key = SLICES[case]
    x = normal(2, 4, 6, 5)
    np.testing.assert_array_equal(run(single("slice", (4, 6, 5), **fields), x, dtype="float64"), x[key])


def test_slice_of_vectors_and_rows(run, builder):
    b = builder(2, 2, 3)
    b("row", "reshape", "input", shape=(4, 3))
    b("part", "slice", "row", axis=1, part=2, parts=3)
    b("flat", "flatten", "part")
    b("x", "slice", "flat", start=1, stop=3)
    assert run(b.graph(), np.arange(12).reshape(1, 2, 2, 3)).tolist() == [[5, 8]]


def test_equal_parts_of_rows_at_any_size(run, builder):
    b = builder(2, 8, 8)
    b("pool", "max_pool2d", "input", kernel=2, stride=2)
    b("x", "slice", "pool", axis=1, part=1, parts=2)
    b("end", "max_pool2d", "x", kernel=2, stride=2)
    graph = b.graph()
    assert not graph.depends_on_size
    for height in (8, 12, 17):
        x = normal(1, 2, height, 8)
        pooled = x[:, :, : height // 2 * 2].reshape(1, 2, height // 2, 2, 4, 2).max((3, 5))
        half = pooled[:, :, height // 4 :]
        rows = half.shape[2] // 2 * 2
        wanted = half[:, :, :rows].reshape(1, 2, rows // 2, 2, 2, 2).max((3, 5))
        np.testing.assert_array_equal(run(graph, x, dtype="float64"), wanted)


def test_a_slice_of_stated_rows_has_a_known_size(backend, builder):
    b = builder(2, 9, 7)
    b("rows", "slice", "input", axis=1, start=1, stop=4)
    b("x", "slice", "rows", axis=2, stop=5)
    graph = b.graph()
    assert not graph.depends_on_size
    assert backend.compile(graph).output_shape == (None, 3, 5, 2)


def test_slice_called_twice(backend, make, builder):
    b = builder(1, 4, 4)
    b("half", "slice", "input", axis=1, start=1)
    b("again", "slice", "half", axis=1, start=1, calls="half")
    model = make(b.graph())
    assert [layer.name for layer in model.operations] == ["input", "half", "half_"]
    assert backend.forward(model, counting(4))[0][0, 0, 0].tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize("axes", [(1, 0), (2, 0, 1), (0, 2, 1), (0, 1, 2), (2, 0, 3, 1)])
def test_a_transpose_has_the_graph_s_axes(axes, run, builder, images):
    shape = {2: (4, 6), 3: (4, 2, 3), 4: (2, 2, 2, 3)}[len(axes)]
    b = builder(4, 2, 3)
    b("values", "reshape", "input", shape=shape)
    b("x", "transpose", "values", axes=axes)
    x = images(2, 4, 2, 3)
    wanted = x.reshape(2, *shape).transpose(0, *(axis + 1 for axis in axes))
    assert np.array_equal(run(b.graph(), x), wanted)
