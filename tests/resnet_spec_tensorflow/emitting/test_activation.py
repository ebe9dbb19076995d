"""Activations and softmax against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.activation_formulas import CASES, NUMBERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_activations(run, single, case):
    graph = single(case.op, NUMBERS.shape[1:], **case.fields)
    np.testing.assert_allclose(run(graph, NUMBERS, dtype="float64"), case.expected(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(run(graph, NUMBERS), case.expected(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_gradients_in_float64(backend, single, case):
    model = backend.compile(single(case.op, NUMBERS.shape[1:], **case.fields), dtype="float64")
    images = tf.constant(np.moveaxis(NUMBERS, 1, -1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(model(images))
    found = np.moveaxis(tape.gradient(total, images).numpy(), -1, 1)
    np.testing.assert_allclose(found, case.derivative(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("slope", [0.1, 0.25])
def test_the_gradient_of_a_leaky_relu_at_zero_is_its_slope(backend, single, slope):
    model = backend.compile(single("leaky_relu", (1, 1, 1), slope=slope), dtype="float64")
    image = tf.zeros((1, 1, 1, 1), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = model(image)
    assert tape.gradient(value, image).numpy().item() == slope


def test_softmax(run, builder):
    b = builder(3, 1, 1)
    b("flatten", "flatten", "input")
    b("softmax", "softmax", "flatten")
    x = np.log([1.0, 2.0, 5.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), [[0.125, 0.25, 0.625]], rtol=1e-14)
