"""Gradients and optimizers' steps in PyTorch, held to formulas written in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet_spec.backend.optimizers import SGD
from resnet_spec.graph import Graph
from resnet_spec.parity.plan import Plan, all_terms, perturbed_batches, random_batch
from resnet_spec_torch import TorchBackend
from tests.optimizer_formulas import CHOICES, LINEAR, apart, batches, loss_and_gradients, start, trained
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images

BACKEND = TorchBackend()


def loaded(graph: Graph, arrays: Mapping[str, Any]) -> torch.nn.Module:
    model = BACKEND.compile(graph, dtype="float64")
    # Copies, since a model's parameters may be the arrays themselves.
    BACKEND.load(model, graph, {name: array.copy() for name, array in arrays.items()})
    return model


def linear() -> torch.nn.Module:
    return loaded(LINEAR, start())


@pytest.mark.parametrize("name", CHOICES)
def test_steps_are_those_of_the_formula(name: str) -> None:
    losses, wanted = trained(CHOICES[name], batches())
    model = linear()
    np.testing.assert_allclose(BACKEND.train(model, LINEAR, batches(), CHOICES[name]), losses, rtol=1e-12)
    assert apart(BACKEND.arrays(model, LINEAR), wanted) < 1e-12


def test_gradients_are_those_of_the_formula() -> None:
    ((images, targets),) = batches(1)
    loss, wanted = loss_and_gradients(start(), images, targets[0])
    found = BACKEND.gradients(linear(), LINEAR, images, targets)
    assert found.loss == pytest.approx(loss, rel=1e-15)
    for name, array in wanted.items():
        np.testing.assert_allclose(found.parameters[name], array, rtol=0, atol=1e-15)
    slope = (images @ start()["fc.weight"].T + start()["fc.bias"] - targets[0]) / targets[0].size
    np.testing.assert_allclose(found.images, slope @ start()["fc.weight"], rtol=0, atol=1e-15)


def two_headed() -> Graph:
    b = Builder(3, 8, 8)
    b.add("conv", "conv2d", channels=4, kernel=3).add("pool", "global_avg_pool").add("flatten", "flatten")
    return b.add("one", "linear", features=2).add("two", "linear", "flatten", features=3).graph("one", "two")


def test_the_gradients_of_every_output_add_up() -> None:
    """Held to differences of the loss, which is a sum over the outputs."""
    graph, arrays = two_headed(), random_arrays(two_headed(), dtype="float64")
    images, targets = random_batch(graph, 2, 0)
    values = BACKEND.forward(loaded(graph, arrays), images)
    found = BACKEND.gradients(loaded(graph, arrays), graph, images, targets)
    assert found.loss == pytest.approx(
        sum(np.square(value - wanted).mean() / 2 for value, wanted in zip(values, targets, strict=True))
    )
    for name in ("conv.weight", "one.weight", "two.bias"):
        moved = 1e-4 * random_images(*arrays[name].shape)
        models = [loaded(graph, arrays | {name: arrays[name] + sign * moved}) for sign in (1, -1)]
        up, down = (BACKEND.gradients(model, graph, images, targets).loss for model in models)
        assert (up - down) / 2 == pytest.approx(float((found.parameters[name] * moved).sum()), rel=1e-6)


def test_training_leaves_the_model_in_the_mode_it_was_in() -> None:
    model = linear()
    BACKEND.train(model, LINEAR, batches(1), SGD())
    assert not model.training


def test_a_perturbed_run_is_moved_by_its_roundings_and_moved_back() -> None:
    graph = Builder(399).add("fc", "linear", features=5).graph()
    model, plan = loaded(graph, random_arrays(graph, dtype="float64")), Plan(1, 2, 0)

    def moved(value: NDArray[Any], from_where: NDArray[Any]) -> float:
        """In units of roundoff, as a standard deviation."""
        return float((value / from_where - 1).std() * 2**53)

    before = BACKEND.arrays(model, graph)
    taken = perturbed_batches(BACKEND, model, graph, plan, 0)
    images, _ = next(taken)
    # 399 products and a bias.
    assert moved(BACKEND.arrays(model, graph)["fc.weight"], before["fc.weight"]) == pytest.approx(20, rel=0.1)
    assert all_terms(graph, 2) == 402
    assert moved(images, random_batch(graph, 2, 0)[0]) == pytest.approx(402**0.5, rel=0.1)
    assert list(taken) == []
    after = BACKEND.arrays(model, graph)
    assert 0 < moved(after["fc.weight"], before["fc.weight"]) < 3
    # Another draw moves elsewhere.
    BACKEND.load(model, graph, before)
    other, _ = next(perturbed_batches(BACKEND, model, graph, plan, 1))
    assert (other != images).any()


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_formula_is_what_a_user_s_own_sgd_does(nesterov: bool) -> None:
    ours = SGD(rate_factor=1.0, weight_decay=0.1, nesterov=nesterov)
    model = linear()
    theirs = torch.optim.SGD(
        model.parameters(),
        lr=ours.learning_rate,
        momentum=ours.momentum,
        weight_decay=ours.weight_decay,
        nesterov=nesterov,
    )
    for images, (targets,) in batches():
        theirs.zero_grad()
        ((model(torch.from_numpy(images)) - torch.from_numpy(targets)).square().mean() / 2).backward()
        theirs.step()
    assert apart(BACKEND.arrays(model, LINEAR), trained(ours, batches())[1]) < 1e-12
