"""keras.applications' ResNet50 beside ours: variables, weights, logits in both backends, one training step in Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.processes import BackendProcess
from resnet_spec.randomization import randomize

from .common import assert_within_gates, deviation_of, images, relative, worker
from .keras_original import TO_KERAS, assign, extract, nhwc, original_logits, trainer, variable


class Original(NamedTuple):
    """keras.applications' model with randomised weights, and the same weights by our names."""

    graph: Graph
    arrays: Mapping[str, NDArray[Any]]
    weights: Path
    logits: dict[tuple[int, int], dict[str, NDArray[Any]]]


def application(dtype: str = "float32", activation: str | None = None) -> Any:
    keras.config.set_dtype_policy(dtype)
    try:
        model = keras.applications.ResNet50(weights=None, input_shape=(None, None, 3), pooling=None, include_top=False)
        pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(model.output)
        return keras.Model(model.input, keras.layers.Dense(1000, activation=activation, name="predictions")(pooled))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    graph = resnet_spec.load("keras/resnet50").to_graph()

    arrays = randomize(graph, trainer(application, graph), seed=7)
    weights = tmp_path_factory.mktemp("keras") / "weights.safetensors"
    logits = original_logits(application, graph, arrays)
    # What Keras wrote, by way of its own variables.
    model = application()
    assign(model, graph, arrays)
    resnet_spec.write_weights(weights, graph, extract(model, graph))
    return Original(graph, arrays, weights, logits)


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest) -> Iterator[BackendProcess]:
    with worker(request.param) as process:
        yield process


def test_every_variable_of_the_original_is_a_parameter_of_ours(original: Original) -> None:
    model = application()
    theirs = {id(value): value.path for value in model.variables}
    ours = {id(variable(model, parameter)) for parameter in original.graph.parameters()}
    assert ours == set(theirs)
    for parameter in original.graph.parameters():
        order = TO_KERAS.get(parameter.role)
        shape = tuple(parameter.shape[axis] for axis in order) if order else parameter.shape
        assert tuple(variable(model, parameter).shape) == shape


def test_layer_names_with_weights_equal_the_applications() -> None:
    theirs = keras.applications.ResNet50(weights=None)
    ours = resnet_spec.build("keras/resnet50", "tensorflow")
    names = [layer.name for layer in theirs.layers if layer.weights]
    assert sorted(names) == sorted(layer.name for layer in ours.layers if layer.weights)
    assert theirs.count_params() == ours.count_params() == 25_636_712


def test_the_softmax_head_equals_the_applications(original: Original) -> None:
    theirs = keras.applications.ResNet50(weights=None)
    assign(theirs, original.graph, original.arrays)
    ours = resnet_spec.build("keras/resnet50", "tensorflow", weights=original.weights)
    batch = nhwc(images(224, 1)).astype(np.float32)
    wanted, result = theirs(batch, training=False).numpy(), ours(batch, training=False).numpy()
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6)


def test_logits_equal_the_originals_in_tensorflow(original: Original) -> None:
    graph = original.graph.with_outputs([original.graph.logits])
    from resnet_spec_tensorflow import TensorFlowBackend

    compiler = TensorFlowBackend()
    model = compiler.compile(graph)
    compiler.load(model, graph, original.arrays)
    deviation = deviation_of(original.logits)
    for (size, batch), wanted in original.logits.items():
        result = model(nhwc(images(size, batch)).astype(np.float32), training=False).numpy()
        assert relative(result, wanted["float32"], deviation) < 1e-6


def test_logits_are_within_the_gates_in_both_backends(original: Original, backend: BackendProcess) -> None:
    assert_within_gates(backend, original.graph, original.weights, original.logits)


def test_a_training_step_equals_the_originals_in_tensorflow(original: Original) -> None:
    from resnet_spec_tensorflow import TensorFlowBackend

    graph = original.graph.with_outputs([original.graph.logits])
    compiler = TensorFlowBackend()
    ours = compiler.compile(graph, dtype="float64")
    compiler.load(ours, graph, {name: array.astype(np.float64) for name, array in original.arrays.items()})
    theirs = application("float64")
    assign(theirs, original.graph, original.arrays)
    batch = nhwc(images(64, 2))
    logits, gradients = trained(ours, graph, batch)
    wanted, wanted_gradients = trained(theirs, graph, batch)
    np.testing.assert_allclose(logits, wanted, rtol=1e-11, atol=1e-11)
    scale = max(float(np.linalg.norm(gradient)) for gradient in wanted_gradients.values())
    assert list(gradients) == list(wanted_gradients)
    for name, gradient in wanted_gradients.items():
        assert float(np.abs(gradients[name] - gradient).max()) < 1e-12 * scale, name
    after, wanted_after = extract(ours, graph), extract(theirs, graph)
    for name, array in wanted_after.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-11, atol=1e-11, err_msg=name)


def trained(model: Any, graph: Graph, batch: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Logits of a training-mode pass and the gradient of every parameter; the statistics move with it."""
    variables = {p.name: variable(model, p).value for p in graph.parameters() if p.trainable}
    with tf.GradientTape() as tape:
        logits = model(batch, training=True)
        weights = tf.reshape(tf.linspace(tf.constant(-1.0, tf.float64), 1.0, tf.size(logits)), logits.shape)
        loss = tf.reduce_sum(logits * weights)
    gradients = tape.gradient(loss, list(variables.values()))
    return logits.numpy(), {name: g.numpy() for name, g in zip(variables, gradients, strict=True)}
