"""Networks of timm that no shipped spec is like, written as YAML from the documentation alone, compute what timm's do.

Each has the names of timm's state_dict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resnet_spec
from resnet_spec.backend.registry import get_backend

from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402

SPECS = Path(__file__).with_name("specs")

# TensorFlow compiles each depthwise convolution in float64, which takes a minute: 6e-15 and 5e-15 on 2026-11-30.
BACKENDS = {
    "convnextv2_atto": ("torch", "onnx"),
    "fasternet_t0": ("torch", "tensorflow", "onnx"),
    "hrnet_w18_small": ("torch", "onnx"),
    "mambaout_femto": ("torch", "onnx"),
    "rdnet_tiny": ("torch", "onnx"),
    "tresnet_m": ("torch", "onnx"),
}

SIZE = {"input.height": 32, "input.width": 64}

TOLERANCE = 1e-9
"""The largest difference, in standard deviations of the original's output."""


def original(name: str) -> Any:
    """timm's model in float64, with no array that would hide a mistake and no value that grows with depth."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).double().eval()
    for key, tensor in model.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(-0.5, 0.5) if key.endswith(("bias", "running_mean")) else tensor.uniform_(0.5, 1.5)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_a_network_of_another_family_computes_what_timm_computes(name: str) -> None:
    graph = resnet_spec.load(SPECS / f"{name}.yaml", SIZE).to_graph()
    model = original(name)
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    assert {p.name: p.shape for p in graph.parameters()} == {key: array.shape for key, array in state.items()}

    images = np.random.default_rng(1).standard_normal((2, *graph.input.shape))
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    for backend in map(get_backend, BACKENDS[name]):
        compiled = backend.compile(graph, dtype="float64")
        backend.load(compiled, graph, state)
        found = backend.forward(compiled, images)[-1]
        assert np.abs(found - wanted).max() / wanted.std() < TOLERANCE, backend.name
