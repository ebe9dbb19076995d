"""A layer whose parameters have other names than PyTorch's works as PyTorch's own layer does."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_spec.errors import GraphError
from tests.resnet_spec_torch.graphs import Builder, build, random_images

NAMES = {"bn": {"weight": "gamma", "running_mean": "mu"}, "act": {"weight": "slope"}, "conv": {"weight": "bias_free"}}


def graph() -> Any:
    b = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3).add("bn", "batch_norm")
    return b.add("act", "prelu", per_channel=True).add("conv2", "conv2d", channels=2, kernel=1).graph()


@pytest.fixture
def model() -> nn.Module:
    return build(graph().with_parameter_names(NAMES))


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(random_images(2, 3, 8, 8))


def test_its_state_dict_has_the_names(model: nn.Module, images: Tensor) -> None:
    assert list(model.state_dict()) == [
        *("conv.bias_free", "bn.gamma", "bn.bias", "bn.mu", "bn.running_var", "bn.num_batches_tracked"),
        *("act.slope", "conv2.weight"),
    ]
    assert [name for name, _ in model.named_parameters()][:2] == ["conv.bias_free", "bn.gamma"]
    plain = build(graph())
    assert torch.equal(model(images), plain(images))
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))


def test_it_is_still_the_layer_that_it_is(model: nn.Module) -> None:
    assert isinstance(model.get_submodule("act"), nn.PReLU)
    assert str(model.get_submodule("act")) == "PReLU(num_parameters=4)"
    assert isinstance(build(graph()).get_submodule("act").weight, nn.Parameter)


def test_it_trains(model: nn.Module, images: Tensor) -> None:
    model.train()
    model(images).square().sum().backward()
    for name in ("conv.bias_free", "bn.gamma", "act.slope"):
        assert model.get_parameter(name).grad is not None
    assert model.get_buffer("bn.mu").abs().sum() > 0
    before = model.get_parameter("act.slope").detach().clone()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not torch.equal(model.get_parameter("act.slope"), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_it_can_be_copied(model: nn.Module, images: Tensor, copied: Any) -> None:
    other = copied(model)
    assert list(other.state_dict()) == list(model.state_dict())
    assert torch.equal(other(images), model(images))
    with torch.no_grad():
        other.get_parameter("act.slope").zero_()
    assert not torch.equal(other(images), model(images))


def test_it_can_be_exported_and_compiled(model: nn.Module, images: Tensor) -> None:
    exported = torch.export.export(model, (images,))
    assert "bn.gamma" in exported.state_dict
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), model(images))
    torch.testing.assert_close(exported.module()(images), model(images))


@pytest.mark.parametrize("name", ["forward", "stride", "bias"])
def test_a_name_that_the_layer_has_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(GraphError, match=rf"conv\.{name}: '{name}' cannot be the name of a PyTorch parameter"):
        build(graph().with_parameter_names({"conv": {"weight": name}}))
