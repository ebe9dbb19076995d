"""Activations and softmax against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_spec_torch import TorchBackend
from tests.activation_formulas import CASES, NUMBERS, Case
from tests.resnet_spec_torch.graphs import Builder, build, run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_activations(case: Case) -> None:
    np.testing.assert_allclose(run(case.op, NUMBERS, **case.fields), case.expected(), rtol=1e-12, atol=1e-14)
    found = run(case.op, NUMBERS.astype("float32"), **case.fields)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, case.expected(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_gradients_in_float64(case: Case) -> None:
    model = build(Builder(*NUMBERS.shape[1:]).add("x", case.op, **case.fields).graph(), "float64")
    images = torch.tensor(NUMBERS, requires_grad=True)
    model(images).sum().backward()
    assert images.grad is not None
    np.testing.assert_allclose(images.grad.numpy(), case.derivative(), rtol=1e-10, atol=1e-11)


def test_softmax() -> None:
    graph = Builder(2, 1, 1).add("flat", "flatten").add("softmax", "softmax").graph()
    backend = TorchBackend()
    images = np.log(np.asarray([1, 3], np.float32)).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(backend.forward(backend.compile(graph), images)[0], [[0.25, 0.75]], rtol=1e-6)
