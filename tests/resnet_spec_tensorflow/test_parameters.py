"""Layouts go both ways, and the model's own initialization is the graph's."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from resnet_spec.graph import Graph
from resnet_spec.operations import Role
from resnet_spec.weights.layouts import KERAS_NAMES, SLIM_NAMES


@pytest.mark.parametrize("names", [KERAS_NAMES, SLIM_NAMES])
def test_every_role_has_a_name(names):
    assert names.keys() == set(Role)


@pytest.fixture(params=["small", "stock", "own"])
def graph(request, small_resnet, stock_net, own_net):
    return {"small": lambda: small_resnet(groups=2), "stock": stock_net, "own": own_net}[request.param]()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_as_they_were_loaded(backend, graph, random_arrays, dtype):
    arrays = random_arrays(graph)
    model = backend.compile(graph, dtype=dtype)
    backend.load(model, graph, arrays)
    back = backend.arrays(model, graph)
    assert list(back) == [parameter.name for parameter in graph.parameters()]
    for name, array in arrays.items():
        assert back[name].dtype == dtype, name
        assert back[name].flags.c_contiguous, name
        assert np.array_equal(back[name], array), name


def test_the_model_has_no_other_variables(backend, small_resnet):
    graph = small_resnet(groups=2)
    model = backend.compile(graph)
    assert len(model.variables) == len(graph.parameters())
    trainable = sum(prod(parameter.shape) for parameter in graph.parameters() if parameter.trainable)
    assert sum(prod(variable.shape) for variable in model.trainable_variables) == trainable


def test_layouts_are_those_of_keras(backend, builder, random_arrays):
    b = builder(4, 3, 5)
    b("conv", "conv2d", "input", channels=6, kernel=(2, 3), groups=2)
    b("up", "conv_transpose2d", "conv", channels=3, kernel=(1, 2))
    b("pbn", "position_batch_norm", "up")
    b("line", "reshape", "pbn", shape=(4, 6))
    b("conv1d", "conv1d", "line", channels=2, kernel=3)
    b("flatten", "flatten", "conv1d")
    b("fc", "linear", "flatten", features=7)
    graph = b.graph()
    arrays = random_arrays(graph)
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    kernel = model.get_layer("conv").kernel.value.numpy()
    assert kernel.shape == (2, 3, 2, 6)
    assert kernel[1, 2, 0, 5] == arrays["conv.weight"][5, 0, 1, 2]
    assert model.get_layer("up").kernel.value.numpy()[0, 1, 2, 5] == arrays["up.weight"][5, 2, 0, 1]
    assert model.get_layer("conv1d").kernel.value.numpy()[1, 2, 0] == arrays["conv1d.weight"][0, 2, 1]
    positions = arrays["pbn.running_mean"].transpose(1, 2, 0).ravel()
    assert np.array_equal(model.get_layer("pbn").moving_mean.value.numpy(), positions)
    assert np.array_equal(model.get_layer("fc").kernel.value.numpy(), arrays["fc.weight"].T)


def test_the_model_keeps_no_hold_of_the_arrays_it_was_loaded_from(backend, small_resnet, random_arrays):
    graph = small_resnet()
    arrays = random_arrays(graph)
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    for array in arrays.values():
        array[...] = -7
    read = backend.arrays(model, graph)
    assert all((array != -7).all() for array in read.values())
    for array in read.values():
        array[...] = -7
    assert all((array != -7).all() for array in backend.arrays(model, graph).values())


def test_half_precision_arrays_load(backend, single):
    graph = single("conv2d", channels=1, kernel=1)
    model = backend.compile(graph, dtype="float64")
    backend.load(model, graph, {"x.weight": np.full((1, 1, 1, 1), 0.5, np.float16)})
    assert backend.arrays(model, graph)["x.weight"].item() == 0.5


RULES = {
    "wide.weight": {"distribution": "normal", "scale": 2.0, "fan": "fan_out"},
    "cut.weight": {"distribution": "truncated_normal", "scale": 2.0, "fan": "fan_in"},
    "even.weight": {"distribution": "uniform", "scale": 1.0, "fan": "fan_avg"},
    "cut.bias": {"distribution": "truncated_normal", "scale": 1.0, "fan": "fan_in"},
    "wide.bias": {"distribution": "normal", "scale": 1.0, "fan": "fan_out"},
    "even.bias": {"distribution": "uniform", "scale": 1 / 3, "fan": "fan_in"},
    "fixed.weight": {"distribution": "normal", "std": 0.01},
    "bn.weight": {"constant": 0.0},
    "bn.bias": {"constant": 0.25},
}


@pytest.fixture
def initialized(builder):
    b = builder(16, 8, 8)
    for name, before in (("wide", "input"), ("cut", "wide"), ("even", "cut"), ("fixed", "even")):
        b(name, "conv2d", before, channels=512, kernel=1, groups=4, bias=True)
    b("bn", "batch_norm", "fixed")
    return b.graph(initialization={f"*{name}": rule for name, rule in RULES.items()})


def test_a_clone_starts_from_the_graphs_own_initialization(backend, initialized):
    from resnet_spec.graph.initialization import initialize
    from resnet_spec_tensorflow.framework import keras

    keras.utils.set_random_seed(0)
    clone = keras.models.clone_model(backend.compile(initialized))
    ours, drawn = initialize(initialized), backend.arrays(clone, initialized)
    for name, array in ours.items():
        assert drawn[name].mean() == pytest.approx(float(array.mean()), abs=0.2 * float(array.std()) + 1e-12), name
        assert drawn[name].std() == pytest.approx(array.std(), rel=0.15), name
        assert np.abs(drawn[name]).max() == pytest.approx(np.abs(array).max(), rel=0.4), name


def test_a_clone_keeps_the_initialization_of_layers_that_keras_lacks(backend, own_net):
    from resnet_spec_tensorflow.framework import keras

    roles = ("norm_scale", "norm_offset", "norm_gate", "norm_threshold")
    rules = {role: {"constant": 0.25 * value} for value, role in enumerate(roles, start=2)}
    graph = Graph.model_validate(own_net().model_dump() | {"initialization": rules})
    drawn = backend.arrays(keras.models.clone_model(backend.compile(graph)), graph)
    for parameter in graph.parameters():
        if parameter.role in rules:
            assert (drawn[parameter.name] == rules[parameter.role]["constant"]).all(), parameter.name


def test_layers_of_equal_shape_start_from_different_numbers(backend, initialized):
    from resnet_spec_tensorflow.framework import keras

    clone = keras.models.clone_model(backend.compile(initialized))
    drawn = backend.arrays(clone, initialized)
    assert not np.array_equal(drawn["cut.weight"], drawn["even.weight"])
    layers = [backend.compile(initialized).get_layer(name) for name in ("cut", "even")]
    assert layers[0].kernel_initializer is not layers[1].kernel_initializer


def test_initializers_are_written_into_the_config(backend, initialized):
    config = backend.compile(initialized).get_layer("wide").get_config()["kernel_initializer"]
    assert config["class_name"] == "VarianceScaling"
    expected = {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"}
    assert {key: config["config"][key] for key in expected} == expected


def test_a_truncated_bias_is_scaled_to_the_stated_variance(backend, initialized):
    # 16 channels in 4 groups and a kernel of 1×1: a fan of 4 for the first convolution, of 128 for the second.
    initializer = backend.compile(initialized).get_layer("cut").bias_initializer
    assert initializer.stddev == pytest.approx((1 / 128) ** 0.5 / 0.8796256610342398)
