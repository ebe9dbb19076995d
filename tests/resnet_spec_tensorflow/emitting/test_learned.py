"""Learned factors, terms and values as Keras layers."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec_tensorflow import TensorFlowBackend
from resnet_spec_tensorflow.framework import keras


@pytest.mark.parametrize(("op", "join"), [("scale", np.multiply), ("offset", np.add)])
def test_a_number_one_per_channel_and_one_per_element(op, join, run, single, images):
    x = images(2, 3, 4, 5).astype(np.float64)
    arrays = {"scalar": np.array(1.5), "channels": np.array([0.5, -2.0, 3.0]), "map": images(3, 4, 5, seed=2)}
    for shape, array in arrays.items():
        own = array.reshape(3, 1, 1) if shape == "channels" else array
        result = run(single(op, (3, 4, 5), shape=shape), x, {"x": array}, dtype="float64")
        assert np.array_equal(result, join(x, own.astype(np.float64))), shape


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_value_for_each_image(batch, run, single, images):
    value = images(2, 3, 4)
    result = run(single("parameter", (1, 4, 4), shape=(2, 3, 4)), images(batch, 1, 4, 4), {"x": value})
    assert np.array_equal(result, np.stack([value] * batch))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_file_keeps_them_and_their_initial_values(builder, images, tmp_path):
    b = builder(3, 5, 4)
    b("positions", "offset", "input", shape="map", initial=-1.5)
    b("gamma", "scale", "positions", shape="channels", initial=1e-6)
    b("gain", "scale", "gamma", shape="scalar")
    b("token", "parameter", "input", shape=(3, 5, 4), initial=0.25)
    b("sum", "add", "gain", "token")
    graph, backend = b.graph(), TensorFlowBackend()
    model = backend.compile(graph)
    rng = np.random.default_rng(0)
    arrays = {p.name: rng.uniform(0.5, 1.5, p.shape).astype(np.float32) for p in graph.parameters()}
    backend.load(model, graph, arrays)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.moveaxis(images(2, 3, 5, 4), 1, -1)
    assert np.array_equal(loaded(x).numpy(), model(x).numpy())
    fresh = keras.models.clone_model(loaded)
    assert {variable.path: float(variable.value.numpy().flat[0]) for variable in fresh.variables} == {
        "positions/value": -1.5,
        "gamma/value": np.float32(1e-6),
        "gain/value": 1.0,
        "token/value": 0.25,
    }


def test_half_precision_computes_in_half_precision(single, images):
    graph, backend = single("scale", (3, 4, 5), shape="channels"), TensorFlowBackend()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = backend.compile(graph)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(np.moveaxis(images(1, 3, 4, 5), 1, -1)).dtype == "float16"
