"""Models follow Keras' global dtype policy; an explicit dtype wins."""

from __future__ import annotations

import numpy as np
import pytest

import resnet_spec
from resnet_spec import BackendError


@pytest.fixture(autouse=True)
def policy(backend):
    """Set a policy; the fixture restores Keras' own."""
    import keras

    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def dtypes(model):
    """The dtypes that the layers compute in, and those of the variables."""
    layers = [layer for layer in model.layers if layer.name != "input"]
    return {layer.compute_dtype for layer in layers}, {variable.dtype for variable in model.variables}


@pytest.mark.parametrize(
    ("name", "computed", "kept"),
    [
        ("mixed_float16", "float16", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("float64", "float64", "float64"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_the_global_policy_is_followed_and_an_explicit_dtype_wins(policy, name, computed, kept):
    policy(name)
    model = resnet_spec.build("cifar/resnet20", "tensorflow")
    assert dtypes(model) == ({computed}, {kept})
    assert model.inputs[0].dtype == kept
    assert model(np.ones((1, 32, 32, 3), "float32")).dtype == computed
    assert dtypes(resnet_spec.build("cifar/resnet20", "tensorflow", dtype="float32")) == ({"float32"}, {"float32"})


@pytest.mark.parametrize("net", ["stock_net", "own_net"])
@pytest.mark.parametrize(("name", "bound"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)])
def test_every_layer_computes_under_a_mixed_policy(backend, policy, random_arrays, request, net, name, bound):
    graph = request.getfixturevalue(net)()
    # Weights of the size that training gives them: half precision has no squares of them, nor a small epsilon.
    arrays = {
        key: array / 500 - 0.002 if key == "conv.weight" else array for key, array in random_arrays(graph).items()
    }
    images = np.random.default_rng(0).standard_normal((2, *graph.input.shape)).astype("float32")
    exact = backend.compile(graph, dtype="float32")
    policy(name)
    mixed = backend.compile(graph)
    outputs = []
    for model in (exact, mixed):
        backend.load(model, graph, arrays)
        outputs.append(backend.forward(model, images)[0].astype("float32"))
    assert np.abs(outputs[0] - outputs[1]).max() < bound * np.abs(outputs[0]).max()


def test_a_policy_of_quantization_is_refused(policy):
    policy("int8_from_mixed_bfloat16")
    with pytest.raises(BackendError, match=r"policy 'int8_from_mixed_bfloat16' is neither .* pass dtype='float32'"):
        resnet_spec.build("cifar/resnet20", "tensorflow")
    assert resnet_spec.build("cifar/resnet20", "tensorflow", dtype="float32").output_shape == (None, 10)


@pytest.mark.parametrize(
    ("name", "computed", "kept"),
    [
        ("bfloat16", "bfloat16", "bfloat16"),
        pytest.param("float16", "float16", "float16", marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", "bfloat16", "float32", marks=pytest.mark.slow),
        pytest.param("mixed_float16", "float16", "float32", marks=pytest.mark.slow),
    ],
)
def test_a_dtype_may_be_half_precision_or_a_mixed_policy(tmp_path, name, computed, kept):
    spec = resnet_spec.load("cifar/resnet20")
    graph, images = spec.to_graph(), np.ones((1, 3, 32, 32), "float32")
    backend = resnet_spec.get_backend("tensorflow")
    model = resnet_spec.build(spec, "tensorflow", dtype=name)
    assert dtypes(model) == ({computed}, {kept})
    held = backend.arrays(model, graph)
    assert {array.dtype for array in held.values()} == {np.dtype("float16" if kept == "float16" else "float32")}

    half = computed if kept != "float32" else False
    resnet_spec.save(model, tmp_path / "w.safetensors", half=half)
    again = resnet_spec.build(spec, "tensorflow", tmp_path / "w.safetensors", dtype=name)
    assert all(np.array_equal(array, held[key]) for key, array in backend.arrays(again, graph).items())
    (logits,) = backend.forward(again, images)
    assert logits.dtype == ("float16" if computed == "float16" else "float32")
    assert np.array_equal(logits, backend.forward(model, images)[0])
