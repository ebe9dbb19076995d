"""Gradients of every layer that Keras lacks, against small differences."""

from __future__ import annotations

import numpy as np
import pytest

X = 2 * np.random.default_rng(0).standard_normal((2, 6, 4, 3)) + 1
BATCH = {"epsilon": 0.1, "momentum": 0.1, "running_variance": "biased"}


def drawn(graph, **arrays):
    rng = np.random.default_rng(1)
    return {p.name: rng.uniform(0.5, 1.5, p.shape) for p in graph.parameters()} | arrays


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
