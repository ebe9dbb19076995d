"""Kernels for other input channels are timm's own, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_spec import load
from resnet_spec.weights.adapting import adapt_to, first_kernels

from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402

NAMES = ("resnet18", "resnet18d", "resnet26t", "resnetv2_18", "resnetv2_50x1_bit")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 12])
def test_kernels_for_other_channels_are_timms(name: str, channels: int) -> None:
    graph = load(f"timm/{name}", [f"input.channels={channels}"]).to_graph()
    (kernel,) = first_kernels(graph)
    weights = np.random.default_rng(channels).standard_normal((kernel.shape[0], 3, *kernel.shape[2:]), np.float32)
    with torch.device("meta"):
        assert timm.create_model(name, in_chans=channels).state_dict()[kernel.name].shape == kernel.shape

    theirs = timm.models.adapt_input_conv(channels, torch.from_numpy(weights.copy()))
    assert np.array_equal(adapt_to(graph, {kernel.name: weights}, ["channels"])[kernel.name], theirs.numpy())
