"""Dropout and stochastic depth: nothing in inference, the expected share in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.resnet_spec_torch.graphs import layer, random_images, run


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_nothing_is_dropped_in_inference(op: str) -> None:
    images = random_images(4, 2, 3, 3)
    np.testing.assert_array_equal(run(op, images, rate=0.75), images)


def test_dropout_drops_elements() -> None:
    dropout = layer("dropout", rate=0.75)
    assert type(dropout) is nn.Dropout
    assert dropout.p == 0.75
    torch.manual_seed(0)
    output = dropout(torch.ones(50, 2, 10, 10))
    assert output.unique().tolist() == [0, 4]
    assert output.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(2, 3, 3), (7,)])
def test_stochastic_depth_drops_images(shape: tuple[int, ...]) -> None:
    dropping = layer("stochastic_depth", shape, rate=0.75)
    assert repr(dropping) == "StochasticDepth(rate=0.75)"
    images = torch.from_numpy(random_images(4000, *shape)).requires_grad_()
    torch.manual_seed(0)
    output = dropping(images)
    kept = (output != 0).flatten(1).all(1)
    assert kept.float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(output[kept], 4 * images[kept])
    assert (output[~kept] == 0).all()
    output.sum().backward()
    assert torch.equal(images.grad.flatten(1)[:, 0], 4.0 * kept)
