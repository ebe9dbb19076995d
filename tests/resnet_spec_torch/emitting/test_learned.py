"""Learned factors, terms and values: parameters of the module around them, as hand-written networks have them."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from resnet_spec.errors import GraphError
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_arrays, random_images, run


def test_a_number_one_per_channel_and_one_per_element() -> None:
    x = random_images(2, 3, 4, 5).astype(np.float64)
    channels, places = np.array([0.5, -2.0, 3.0]), random_images(3, 4, 5, seed=2).astype(np.float64)
    for op, join in (("scale", np.multiply), ("offset", np.add)):
        assert np.array_equal(run(op, x, {"": np.array(1.5)}, shape="scalar"), join(x, 1.5))
        assert np.array_equal(run(op, x, {"": channels}, shape="channels"), join(x, channels.reshape(3, 1, 1)))
        assert np.array_equal(run(op, x, {"": places}, shape="map"), join(x, places))
        assert np.array_equal(run(op, x[:, :, 0, 0], {"": channels}, shape="channels"), join(x[:, :, 0, 0], channels))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_value_for_each_image(batch: int) -> None:
    value = random_images(1, 6)
    result = run("parameter", random_images(batch, 2, 3, 3), {"": value}, shape=(1, 6))
    assert np.array_equal(result, np.stack([value] * batch))


def scaled(**fields: str) -> Builder:
    """A branch with LayerScale in a module of its own, SkipInit, and a positional embedding at the top."""
    b = Builder(4, 5, 5).add("conv", "conv2d", channels=4, kernel=1).add("positions", "offset", shape="map")
    b.add("layer1.0.conv1", "conv2d", channels=4, kernel=3, padding=1).add("layer1.0.act", "relu")
    b.add("layer1.0.ls1.gamma", "scale", shape="channels", initial=1e-6)
    b.add("layer1.0.gain", "scale", shape="scalar", initial=0.0)
    return b.add("layer1.0.add", "add", "layer1.0.gain", "positions").add("token", "parameter", shape=(4, 5, 5))


NAMES = ["positions", "token", "conv.weight", "layer1.0.gain", "layer1.0.conv1.weight", "layer1.0.ls1.gamma"]


def test_names_are_the_layers_own_and_in_the_order_of_a_state_dict() -> None:
    graph = scaled().add("sum", "add", "layer1.0.add", "token").graph()
    assert [parameter.name for parameter in graph.parameters()] == NAMES
    model = build(graph)
    assert list(model.state_dict()) == NAMES
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert isinstance(model.get_parameter("layer1.0.ls1.gamma"), nn.Parameter)


def test_the_generated_code_reads_like_hand_written_code() -> None:
    model = build(scaled().add("sum", "add", "layer1.0.add", "token").graph())
    block = model.get_submodule("layer1.0")
    assert inspect.getsource(type(block.get_submodule("ls1")).forward) == (  # pyright: ignore
        "def forward(self, x):\n    return x * self.gamma[:, None, None]\n"
    )
    assert "    y = y * self.gain\n    return accumulate(y, x)\n" in inspect.getsource(type(block).forward)  # pyright: ignore
    top = inspect.getsource(type(model).forward)  # pyright: ignore
    assert "    y = self.token.expand(x.shape[0], -1, -1, -1)\n" in top
    assert "    x = x + self.positions\n" in top


def test_models_are_copied_pickled_compiled_and_exported() -> None:
    graph = scaled().add("sum", "add", "layer1.0.add", "token").graph()
    model, images = build(graph), torch.from_numpy(random_images(2, 4, 5, 5))
    wanted = model(images)
    assert torch.equal(copy.deepcopy(model)(images), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), wanted)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(images), wanted)  # pyright: ignore
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(images[:1]), wanted[:1])


def test_gradients_and_initial_values() -> None:
    graph = scaled().add("sum", "add", "layer1.0.add", "token").graph()
    backend = TorchBackend()
    model = build(graph)
    model(torch.from_numpy(random_images(2, 4, 5, 5))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    arrays = random_arrays(graph, seed=3)
    backend.load(model, graph, arrays)
    assert all(np.array_equal(array, arrays[name]) for name, array in backend.arrays(model, graph).items())


def test_a_shared_value_is_one_parameter() -> None:
    b = Builder(3, 4, 4).add("gain", "scale", shape="scalar").add("act", "relu")
    model = build(b.add("again", "scale", shape="scalar", calls="gain").graph())
    assert list(model.state_dict()) == ["gain"]
    images = torch.from_numpy(random_images(1, 3, 4, 4))
    gain = model.get_parameter("gain")
    assert torch.equal(model(images), (images * gain).relu() * gain)


def test_an_activation_after_one_does_not_overwrite_its_input() -> None:
    b = Builder(3, 4, 4).add("act0", "sigmoid").add("gain", "scale", shape="scalar").add("act", "relu")
    graph = b.add("token", "parameter", shape=(3, 4, 4)).add("act1", "relu").add("x", "add", "act", "act1").graph()
    model, images = build(graph), torch.from_numpy(random_images(2, 3, 4, 4))
    token = model.get_parameter("token").clone()
    wanted = (images.sigmoid() * model.get_parameter("gain")).relu() + token.relu()
    with torch.no_grad():
        assert torch.equal(model(images), wanted)
    assert torch.equal(model.get_parameter("token"), token)


def test_a_name_that_modules_have_is_refused() -> None:
    graph = Builder(3, 4, 4).add("block.training", "scale", shape="scalar").graph()
    with pytest.raises(GraphError, match="'training' cannot be the name of a PyTorch parameter"):
        TorchBackend().compile(graph)
