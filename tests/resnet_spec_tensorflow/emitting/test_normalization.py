"""Normalizations against NumPy in float64, in inference and training."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

X = 2 * np.random.default_rng(0).standard_normal((2, 6, 4, 3)) + 1


def drawn(graph, **arrays):
    rng = np.random.default_rng(1)
    return {p.name: rng.uniform(0.5, 1.5, p.shape) for p in graph.parameters()} | arrays


def column(array):
    return array.reshape(-1, 1, 1)


def close(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def deviation(x, groups, epsilon):
    """The square root of variance and epsilon, over each group of channels, in the shape of the map."""
    grouped = x.reshape(len(x), groups, -1)
    spread = np.sqrt(grouped.var(2, keepdims=True) + epsilon)
    return np.broadcast_to(spread, grouped.shape).reshape(x.shape)


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


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_group_norm(run, single, groups, scale, offset, epsilon):
    graph = single("group_norm", (6, 8, 8), groups=groups, epsilon=epsilon, scale=scale, offset=offset)
    arrays = drawn(graph)
    mean = X.reshape(2, groups, -1).mean(2).repeat(6 // groups, axis=1)[:, :, None, None]
    expected = (X - mean) / deviation(X, groups, epsilon)
    expected = expected * column(arrays.get("x.weight", np.ones(6))) + column(arrays.get("x.bias", np.zeros(6)))
    close(run(graph, X, arrays, dtype="float64"), expected)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
@pytest.mark.parametrize("gated", [True, False])
def test_evo_norm(run, single, groups, epsilon, gated):
    graph = single("evo_norm_s0", (6, 8, 8), groups=groups, epsilon=epsilon, gate=gated)
    arrays = drawn(graph)
    gate = 1 / (1 + np.exp(-column(arrays["x.v"]) * X)) if gated else 1
    expected = X * gate / deviation(X, groups, epsilon) * column(arrays["x.weight"]) + column(arrays["x.bias"])
    close(run(graph, X, arrays, dtype="float64"), expected)


@pytest.mark.parametrize("threshold", [True, False])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_filter_response_norm(run, single, threshold, epsilon):
    graph = single("filter_response_norm", (6, 8, 8), threshold=threshold, epsilon=epsilon)
    arrays = drawn(graph)
    expected = X / np.sqrt((X**2).mean((2, 3), keepdims=True) + epsilon)
    expected = expected * column(arrays["x.weight"]) + column(arrays["x.bias"])
    close(
        run(graph, X, arrays, dtype="float64"), np.maximum(expected, column(arrays["x.tau"])) if threshold else expected
    )


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_position_batch_norm_in_inference(run, single, scale, offset):
    graph = single(
        "position_batch_norm",
        (6, 4, 3),
        epsilon=0.3,
        momentum=0.1,
        running_variance="biased",
        scale=scale,
        offset=offset,
    )
    arrays = drawn(graph)
    assert arrays["x.running_mean"].shape == (6, 4, 3)
    expected = (X - arrays["x.running_mean"]) / np.sqrt(arrays["x.running_var"] + 0.3)
    close(run(graph, X, arrays, dtype="float64"), expected * arrays.get("x.weight", 1.0) + arrays.get("x.bias", 0.0))


@pytest.mark.parametrize(
    ("exact", "running_variance", "correction"),
    [(False, "unbiased", 0), (True, "biased", 0), (True, "unbiased", 1)],
)
def test_position_batch_norm_in_training(backend, make, single, exact, running_variance, correction):
    graph = single("position_batch_norm", (6, 4, 3), epsilon=0.3, momentum=0.25, running_variance=running_variance)
    arrays = drawn(graph)
    model = make(graph, arrays, dtype="float64", exact_statistics=exact)
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 0.3) * arrays["x.weight"] + arrays["x.bias"]
    close(backend.forward(model, X, training=True)[0], expected)
    after = backend.arrays(model, graph)
    close(after["x.running_mean"], 0.75 * arrays["x.running_mean"] + 0.25 * X.mean(0))
    close(after["x.running_var"], 0.75 * arrays["x.running_var"] + 0.25 * X.var(0, ddof=correction))


VECTORS = X[:, :, 0].transpose(0, 2, 1).reshape(6, 6)


@pytest.mark.parametrize(("scale", "offset"), [(True, True), (False, True), (True, False), (False, False)])
def test_batch_norm_of_a_vector(backend, run, single, scale, offset):
    graph = single("batch_norm", (6,), epsilon=0.3, scale=scale, offset=offset)
    arrays = drawn(graph)
    layer = backend.compile(graph).get_layer("x")
    assert type(layer).__name__ == "BatchNormalization"
    expected = (VECTORS - arrays["x.running_mean"]) / np.sqrt(arrays["x.running_var"] + 0.3)
    expected = expected * arrays.get("x.weight", 1.0) + arrays.get("x.bias", 0.0)
    close(run(graph, VECTORS, arrays, dtype="float64"), expected)


@pytest.mark.parametrize(
    ("exact", "running_variance", "correction"),
    [(False, "unbiased", 0), (True, "biased", 0), (True, "unbiased", 1)],
)
def test_batch_norm_of_a_vector_in_training(backend, make, single, exact, running_variance, correction):
    graph = single("batch_norm", (6,), epsilon=0.3, momentum=0.25, running_variance=running_variance)
    arrays = drawn(graph)
    model = make(graph, arrays, dtype="float64", exact_statistics=exact)
    mean, variance = VECTORS.mean(0), VECTORS.var(0)
    expected = (VECTORS - mean) / np.sqrt(variance + 0.3) * arrays["x.weight"] + arrays["x.bias"]
    close(backend.forward(model, VECTORS, training=True)[0], expected)
    after = backend.arrays(model, graph)
    close(after["x.running_mean"], 0.75 * arrays["x.running_mean"] + 0.25 * mean)
    close(after["x.running_var"], 0.75 * arrays["x.running_var"] + 0.25 * VECTORS.var(0, ddof=correction))


@pytest.mark.parametrize("op", ["batch_norm", "group_norm", "layer_norm", "instance_norm"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2), (2, 3, 2, 2)])
def test_values_of_any_rank_are_normalized_as_in_numpy(op, shape, run, builder, images):
    fields = {"batch_norm": {}, "group_norm": {"groups": 2, "epsilon": 0.1}}.get(op, {"epsilon": 0.1})
    b = builder(4, 2, 3)
    b("values", "reshape", "input", shape=shape)
    b("x", op, "values", **fields)
    x = images(3, 4, 2, 3).astype(np.float64)
    rng = np.random.default_rng(2)
    own = {name: rng.uniform(0.5, 1.5, shape[0]) for name in ("weight", "bias", "running_mean", "running_var")}
    if op not in ("batch_norm",):
        own = {name: own[name] for name in ("weight", "bias")}
    result = run(b.graph(), x, {f"x.{name}": array for name, array in own.items()}, dtype="float64")
    values = x.reshape(3, *shape)
    column = (1, shape[0], *[1] * (len(shape) - 1))
    if op == "batch_norm":
        plain = (values - own["running_mean"].reshape(column)) / np.sqrt(own["running_var"].reshape(column) + 1e-5)
    elif op == "group_norm":
        grouped = values.reshape(3, 2, -1)
        plain = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 0.1)
        plain = plain.reshape(values.shape)
    else:
        axes = 1 if op == "layer_norm" else tuple(range(2, values.ndim))
        plain = (values - values.mean(axes, keepdims=True)) / np.sqrt(values.var(axes, keepdims=True) + 0.1)
    expected = plain * own["weight"].reshape(column) + own["bias"].reshape(column)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_layer_normalization_along_each_axis(axis, run, single, images):
    x = images(2, 3, 4, 5).astype(np.float64)
    weight = np.linspace(0.5, 1.5, x.shape[axis + 1])
    graph = single("layer_norm", (3, 4, 5), axis=axis, epsilon=1e-3, offset=False)
    result = run(graph, x, {"x.weight": weight}, dtype="float64")
    plain = (x - x.mean(axis + 1, keepdims=True)) / np.sqrt(x.var(axis + 1, keepdims=True) + 1e-3)
    shape = [-1 if index == axis + 1 else 1 for index in range(4)]
    np.testing.assert_allclose(result, plain * weight.reshape(shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("epsilon", [1e-12, 2.0])
def test_l2_normalize(run, single, axis, epsilon):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    wanted = x / np.linalg.norm(x, axis=axis + 1, keepdims=True).clip(min=epsilon)
    result = run(single("l2_normalize", (3, 8, 8), axis=axis, epsilon=epsilon), x, dtype="float64")
    np.testing.assert_allclose(result, wanted, rtol=1e-13)


def test_the_gradient_of_l2_normalize_at_zero_is_finite(backend, single):
    model = backend.compile(single("l2_normalize", (3, 2, 2), epsilon=1e-6), dtype="float64")
    image = tf.zeros((1, 2, 2, 3), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(model(image))
    assert np.unique(tape.gradient(total, image).numpy()).tolist() == [pytest.approx(1e6)]
