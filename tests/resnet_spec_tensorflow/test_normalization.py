"""Normalizations and what acts in training only: against NumPy, in float64; and gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest

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
def test_evo_norm(run, single, groups, epsilon):
    graph = single("evo_norm_s0", (6, 8, 8), groups=groups, epsilon=epsilon)
    arrays = drawn(graph)
    gate = 1 / (1 + np.exp(-column(arrays["x.v"]) * X))
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


# ---------------------------------------------------------------------------------------------------------------
# What acts in training only


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_nothing_is_dropped_in_inference_or_at_a_rate_of_0(backend, make, single, op):
    close(backend.forward(make(single(op, (6, 4, 3), rate=0.9), dtype="float64"), X)[0], X)
    never = make(single(op, (6, 4, 3), rate=0.0), dtype="float64")
    close(backend.forward(never, X, training=True)[0], X)


def test_dropout_zeroes_elements_and_scales_the_others(backend, make, single):
    model = make(single("dropout", (2, 16, 16), rate=0.75), dtype="float64")
    y = backend.forward(model, np.ones((8, 2, 16, 16)), training=True)[0]
    assert set(np.unique(y)) == {0, 4}
    assert abs((y == 0).mean() - 0.75) < 0.05


def test_stochastic_depth_zeroes_images_whole(backend, make, single):
    model = make(single("stochastic_depth", (2, 4, 4), rate=0.75), dtype="float64")
    y = backend.forward(model, np.ones((512, 2, 4, 4)), training=True)[0].reshape(512, -1)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0, 4}
    assert abs((y[:, 0] == 0).mean() - 0.75) < 0.1


def test_stochastic_depth_of_vectors(backend, make, builder):
    b = builder(2, 1, 3)
    b("flatten", "flatten", "input")
    b("x", "stochastic_depth", "flatten", rate=0.5)
    y = backend.forward(make(b.graph()), np.ones((64, 2, 1, 3)), training=True)[0]
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {0, 2}


# ---------------------------------------------------------------------------------------------------------------
# Gradients

BATCH = {"epsilon": 0.1, "momentum": 0.1, "running_variance": "biased"}


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("std_conv2d", {"channels": 2, "kernel": 3, "epsilon": 0.1, "bias": True}),
        ("conv_transpose2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": 1, "bias": True}),
        ("position_batch_norm", BATCH),
        ("group_norm", {"groups": 2, "epsilon": 0.1}),
        ("evo_norm_s0", {"groups": 2, "epsilon": 0.1}),
        ("filter_response_norm", {"threshold": True, "epsilon": 0.1}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": True}),
        ("max_pool2d", {"kernel": 3, "stride": 2, "ceil_mode": True}),
        ("global_max_pool", {}),
        ("pad2d", {"padding": 2, "mode": "reflect"}),
        ("pad_channels", {"before": 1, "after": 2}),
        ("reshape", {"shape": (4, 18)}),
        ("dropout", {"rate": 0.5}),
        ("stochastic_depth", {"rate": 0.5}),
    ],
)
def test_gradients_are_those_of_small_differences(make, single, op, fields):
    from resnet_spec_tensorflow.framework import tf

    graph = single(op, X.shape[1:], **fields)
    model = make(graph, drawn(graph), dtype="float64")
    x = tf.Variable(X.transpose(0, 2, 3, 1))
    variables = [x, *(variable.value for variable in model.trainable_variables)]
    rng = np.random.default_rng(2)
    weights = rng.standard_normal(model(x).shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) * weights)
    gradients = tape.gradient(loss, variables)
    steps = [1e-6 * rng.standard_normal(variable.shape) for variable in variables]

    def moved(times):
        for variable, step in zip(variables, steps, strict=True):
            variable.assign_add(times * step)
        return float(tf.reduce_sum(model(x) * weights))

    difference = (moved(1) - moved(-2)) / 2
    expected = sum(float(tf.reduce_sum(g * step)) for g, step in zip(gradients, steps, strict=True))
    assert difference == pytest.approx(expected, rel=1e-5)
