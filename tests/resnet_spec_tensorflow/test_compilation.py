"""What "native" means: a functional Keras model of stock layers that trains, takes any size and is found by name."""

from __future__ import annotations

import numpy as np
import pytest


def test_a_functional_model_of_stock_layers(backend, small_resnet):
    from resnet_spec_tensorflow.framework import keras

    model = backend.compile(small_resnet(groups=2))
    assert isinstance(model, keras.Model)
    assert type(model).__name__ == "Functional"
    assert {type(operation).__module__.split(".")[0] for operation in model.operations} == {"keras"}
    assert model.name == "test_net"


def test_layers_are_found_by_the_names_of_nodes(backend, small_resnet):
    graph = small_resnet()
    model = backend.compile(graph)
    for node in graph.nodes:
        assert model.get_layer(node.name).name == node.name
    assert type(model.get_layer("layer1.0.conv1")).__name__ == "Conv2D"


def test_any_input_size(backend, make, small_resnet, images):
    model = make(small_resnet())
    assert model.input_shape == (None, None, None, 3)
    for height, width in [(16, 16), (17, 31), (40, 9)]:
        assert backend.forward(model, images(2, 3, height, width))[0].shape == (2, 5)


def test_the_graphs_own_size_where_a_parameter_depends_on_it(backend, builder):
    b = builder(2, 3, 4)
    b("flatten", "flatten", "input")
    b("fc", "linear", "flatten", features=5)
    assert backend.compile(b.graph()).input_shape == (None, 3, 4, 2)


def test_several_outputs_are_a_list(backend, make, small_resnet, images):
    graph = small_resnet().with_outputs(["relu", "fc"])
    model = make(graph)
    x = images(2, 3, 16, 16)
    native = model(x.transpose(0, 2, 3, 1))
    features, logits = backend.forward(model, x)
    assert isinstance(native, list)
    assert native[0].shape == (2, 4, 4, 8)
    assert features.shape == (2, 8, 4, 4)
    assert np.array_equal(features, native[0].numpy().transpose(0, 3, 1, 2))
    assert np.array_equal(logits, native[1].numpy())


@pytest.mark.parametrize("count", [1, 3])
def test_named_outputs_are_a_dict_in_the_graphs_order(backend, make, small_resnet, images, tmp_path, count):
    from resnet_spec_tensorflow.framework import keras

    outputs, names = ["relu", "fc", "flatten"][:count], ["z", "a", "m"][:count]
    graph = small_resnet().with_outputs(outputs, names)
    model = make(graph)
    x = images(2, 3, 16, 16)
    native = model(x.transpose(0, 2, 3, 1))
    assert list(native) == names
    values = backend.forward(model, x)
    assert [value.shape for value in values] == [(2, *graph.by_name[name].shape) for name in outputs]
    assert np.array_equal(native["z"].numpy(), values[0].transpose(0, 2, 3, 1))
    backend.write(model, graph, tmp_path / "model.keras")
    again = backend.forward(keras.saving.load_model(tmp_path / "model.keras"), x)
    assert all(map(np.array_equal, values, again))


def test_a_model_of_vectors(backend, make, builder):
    b = builder(features=6)
    b("fc", "linear", "input", features=12, bias=False)
    b("map", "reshape", "fc", shape=(3, 2, 2))
    b("bn", "position_batch_norm", "map")
    b("line", "reshape", "bn", shape=(4, 3))
    graph = b.graph("map", "line")
    model = make(graph, dtype="float64")
    assert model.input_shape == (None, 6)
    assert [output.shape for output in model.outputs] == [(None, 2, 2, 3), (None, 3, 4)]
    x = np.random.default_rng(0).standard_normal((2, 6))
    maps, lines = backend.forward(model, x)
    arrays = backend.arrays(model, graph)
    np.testing.assert_allclose(maps, (x @ arrays["fc.weight"].T).reshape(2, 3, 2, 2), rtol=1e-12)
    centered = (maps - arrays["bn.running_mean"]) / np.sqrt(arrays["bn.running_var"] + 1e-5)
    normalized = centered * arrays["bn.weight"] + arrays["bn.bias"]
    np.testing.assert_allclose(lines, normalized.reshape(2, 4, 3), rtol=1e-12)


def test_float64_throughout(backend, make, small_resnet, images):
    from resnet_spec_tensorflow.framework import keras

    model = make(small_resnet(groups=2), dtype="float64")
    assert {variable.dtype for variable in model.variables} == {"float64"}
    assert {operation.output.dtype for operation in model.operations} == {"float64"}
    (y,) = backend.forward(model, images(2, 3, 16, 16))
    assert y.dtype == np.float64
    assert keras.config.floatx() == "float32"
    # Nothing in between is rounded to float32.
    (z,) = backend.forward(make(small_resnet(groups=2)), images(2, 3, 16, 16))
    assert 1e-9 < np.abs(y - z).max() / y.std() < 1e-4


def test_global_settings_of_keras_do_not_matter_for_an_explicit_dtype(backend, run, small_resnet, images):
    from resnet_spec_tensorflow.framework import keras

    x = images(2, 3, 16, 16)
    expected = run(small_resnet(), x)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        actual = run(small_resnet(), x, dtype="float32")
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_trains_with_fit(backend, make, small_resnet, images, groups):
    from resnet_spec_tensorflow.framework import keras

    graph = small_resnet(groups=groups)
    model = make(graph)
    before = backend.arrays(model, graph)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=loss)
    x, labels = images(8, 16, 16, 3), np.arange(8) % 5
    history = model.fit(x, labels, batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    after = backend.arrays(model, graph)
    still = {name for name in before if np.array_equal(before[name], after[name])}
    # A bias whose gradient is nought in front of a normalization would be, too, but there is none here.
    assert still == set()


# ---------------------------------------------------------------------------------------------------------------
# Running statistics


def _variances(x, momentum, correction):
    batch = x.astype(np.float64).transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
    return momentum * batch.mean(axis=1), (1 - momentum) + momentum * batch.var(axis=1, ddof=correction)


@pytest.mark.parametrize(
    ("exact", "running_variance", "correction"),
    [(False, "unbiased", 0), (False, "biased", 0), (True, "biased", 0), (True, "unbiased", 1)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics_after_one_step(backend, single, images, exact, running_variance, correction, dtype):
    from resnet_spec.graph.initialization import initialize

    graph = single("batch_norm", (3, 2, 2), momentum=0.1, running_variance=running_variance)
    model = backend.compile(graph, dtype=dtype, exact_statistics=exact)
    backend.load(model, graph, initialize(graph))
    # Seven values a channel or so, so that n and n-1 are far apart.
    x = 1 + 3 * images(2, 3, 2, 2)
    (y,) = backend.forward(model, x, training=True)
    mean, variance = _variances(x, 0.1, correction)
    arrays = backend.arrays(model, graph)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(arrays["x.running_mean"], mean, rtol=tolerance)
    np.testing.assert_allclose(arrays["x.running_var"], variance, rtol=tolerance)
    # Whatever is kept, the batch itself is normalized by its biased variance.
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, rtol=1e-4)


def test_inference_moves_no_statistics(backend, make, small_resnet, images):
    graph = small_resnet()
    model = make(graph, exact_statistics=True)
    before = backend.arrays(model, graph)
    backend.forward(model, images(2, 3, 16, 16))
    model.get_layer("bn1").trainable = False
    frozen = {name for name in before if name.startswith("bn1.")}
    backend.forward(model, images(2, 3, 16, 16), training=True)
    after = backend.arrays(model, graph)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"layer1.0.bn1.running_mean", "layer1.0.bn1.running_var"}
    assert not moved & frozen


def test_a_shared_normalization_moves_twice(backend, builder, images):
    from resnet_spec.graph.initialization import initialize

    b = builder(3, 4, 4)
    b("bn", "batch_norm", "input", momentum=0.5, epsilon=1e-12)
    b("relu", "relu", "bn")
    b("bn2", "batch_norm", "relu", momentum=0.5, epsilon=1e-12, calls="bn")
    graph = b.graph()
    model = backend.compile(graph, dtype="float64")
    assert [layer.name for layer in model.layers] == ["input", "bn", "relu"]
    backend.load(model, graph, initialize(graph))
    x = 2 + images(4, 3, 4, 4)
    backend.forward(model, x, training=True)
    first = x.astype(np.float64).mean(axis=(0, 2, 3))
    normalized = (x - first.reshape(1, 3, 1, 1)) / x.astype(np.float64).std(axis=(0, 2, 3)).reshape(1, 3, 1, 1)
    second = np.maximum(normalized, 0).mean(axis=(0, 2, 3))
    moved = backend.arrays(model, graph)["bn.running_mean"]
    np.testing.assert_allclose(moved, 0.5 * (0.5 * first) + 0.5 * second, rtol=1e-6)


def test_exact_statistics_train_with_fit_and_any_size(backend, single, images):
    from resnet_spec.graph.initialization import initialize
    from resnet_spec_tensorflow.framework import keras

    graph = single("batch_norm", (3, 4, 4), momentum=1.0, running_variance="unbiased")
    model = backend.compile(graph, exact_statistics=True)
    backend.load(model, graph, initialize(graph))
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse")
    x = images(2, 2, 3, 3)
    model.fit(x, x, epochs=1, verbose=0)
    _, variance = _variances(x.transpose(0, 3, 1, 2), 1.0, 1)
    np.testing.assert_allclose(backend.arrays(model, graph)["x.running_var"], variance, rtol=1e-5)


def test_layers_are_counted_as_keras_applications_counts_them(backend, builder):
    # Where two are as deep, the shortcut's comes first: .weights.h5 files go by class and number.
    b = builder(4)
    b("conv1", "conv2d", "input", channels=4, kernel=3, padding=1)
    b("conv2", "conv2d", "conv1", channels=4, kernel=3, padding=1)
    b("shortcut", "conv2d", "input", channels=4, kernel=1)
    b("add", "add", "conv2", "shortcut")
    model = backend.compile(b.graph())
    assert [layer.name for layer in model.layers] == ["input", "conv1", "shortcut", "conv2", "add"]
