"""Gradients and optimizers' steps in Keras, held to formulas written in NumPy; and what Keras' own words would do."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.backend.optimizers import SGD, AdamW
from resnet_spec.parity.plan import random_batch
from tests.optimizer_formulas import CHOICES, LINEAR, apart, batches, loss_and_gradients, start, trained


@pytest.fixture
def linear(backend):
    model = backend.compile(LINEAR, dtype="float64")
    backend.load(model, LINEAR, start())
    return model


@pytest.mark.parametrize("name", CHOICES)
def test_steps_are_those_of_the_formula(backend, linear, name):
    losses, wanted = trained(CHOICES[name], batches())
    np.testing.assert_allclose(backend.train(linear, LINEAR, batches(), CHOICES[name]), losses, rtol=1e-12)
    assert apart(backend.arrays(linear, LINEAR), wanted) < 1e-12


def test_gradients_are_those_of_the_formula(backend, linear):
    ((images, targets),) = batches(1)
    loss, wanted = loss_and_gradients(start(), images, targets[0])
    found = backend.gradients(linear, LINEAR, images, targets)
    assert found.loss == pytest.approx(loss, rel=1e-15)
    for name, array in wanted.items():
        np.testing.assert_allclose(found.parameters[name], array, rtol=0, atol=1e-15)
    slope = (images @ start()["fc.weight"].T + start()["fc.bias"] - targets[0]) / targets[0].size
    np.testing.assert_allclose(found.images, slope @ start()["fc.weight"], rtol=0, atol=1e-15)


def test_the_gradients_of_every_output_add_up(backend, builder, make):
    b = builder(3, 8, 8)
    b("conv", "conv2d", "input", channels=4, kernel=3)
    b("flatten", "flatten", b("pool", "global_avg_pool", "conv"))
    b("one", "linear", "flatten", features=2)
    b("two", "linear", "flatten", features=3)
    graph = b.graph("one", "two")
    model = make(graph, dtype="float64")
    images, targets = random_batch(graph, 2, 0)
    values = backend.forward(model, images)
    # An output that is its own target adds nothing.
    given = (targets, [targets[0], values[1]], [values[0], targets[1]])
    both, one, two = (backend.gradients(model, graph, images, wanted) for wanted in given)
    assert both.loss == pytest.approx(one.loss + two.loss)
    assert not one.parameters["two.weight"].any()
    assert not two.parameters["one.weight"].any()
    for name, gradient in both.parameters.items():
        assert gradient.any()
        np.testing.assert_allclose(gradient, one.parameters[name] + two.parameters[name], rtol=0, atol=1e-14)


# -- what the same words mean in Keras ---------------------------------------------------------------------------


@pytest.fixture
def native(backend, linear):
    """The parameters after ten steps of an optimizer as a user writes it; ``factor`` multiplies the rate each time."""
    import keras
    import tensorflow as tf

    def train(kind, factor=1.0, **settings):
        optimizer = getattr(keras.optimizers, kind)(**settings)
        for images, (targets,) in batches():
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(linear(images) - targets)) / 2
            optimizer.apply(tape.gradient(loss, linear.trainable_weights), linear.trainable_weights)
            optimizer.learning_rate = float(optimizer.learning_rate.numpy()) * factor
        return backend.arrays(linear, LINEAR)

    return train


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_formula_s_at_a_constant_rate(native, nesterov):
    ours = SGD(weight_decay=0.0, rate_factor=1.0, nesterov=nesterov)
    theirs = native("SGD", learning_rate=ours.learning_rate, momentum=ours.momentum, nesterov=nesterov)
    assert apart(theirs, trained(ours, batches())[1]) < 1e-12


def test_keras_momentum_holds_the_rate_that_its_gradients_came_with(native):
    ours = SGD(weight_decay=0.0)
    theirs = native("SGD", ours.rate_factor, learning_rate=ours.learning_rate, momentum=ours.momentum)
    assert apart(theirs, trained(ours, batches())[1]) > 1e-2


def test_keras_weight_decay_of_sgd_is_decoupled(native):
    ours = SGD(weight_decay=0.1, rate_factor=1.0)
    theirs = native("SGD", learning_rate=ours.learning_rate, momentum=ours.momentum, weight_decay=ours.weight_decay)
    assert apart(theirs, trained(ours, batches())[1]) > 1e-2


def test_keras_epsilon_of_adamw_is_inside_the_bias_correction(native):
    ours = AdamW(epsilon=1e-3, rate_factor=1.0)
    theirs = native(
        "AdamW",
        learning_rate=ours.learning_rate,
        beta_1=ours.beta1,
        beta_2=ours.beta2,
        epsilon=ours.epsilon,
        weight_decay=ours.weight_decay,
    )
    assert apart(theirs, trained(ours, batches())[1]) > 1e-4


def test_keras_takes_numbers_through_float32(native):
    """A rate that float32 does not hold: training by what it does hold is told apart from training by the rate."""
    theirs = native("SGD", learning_rate=0.1)
    ours = SGD(learning_rate=0.1, momentum=0.0, weight_decay=0.0, rate_factor=1.0)
    exact = SGD(learning_rate=0.1, momentum=0.0, weight_decay=0.0, rate_factor=1.0)
    object.__setattr__(exact, "learning_rate", 0.1)
    object.__setattr__(exact, "rate", lambda step: 0.1)
    assert ours.learning_rate != 0.1
    assert apart(theirs, trained(ours, batches())[1]) < 1e-15
    assert apart(theirs, trained(exact, batches())[1]) > 1e-10
