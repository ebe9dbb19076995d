"""Projection heads, linear layers with batch normalizations between them, against ``nn.Sequential`` of torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resnet_spec

HEAD = """
input: {features: 12}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
head:
  "0": {linear: {features: 8}}
  "1": norm
  "2": relu
  "3": {linear: {features: 5}}
"""

LAST = '  "4": {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased, scale: false, offset: false}}\n'
"""MoCo v3 and SimSiam end in a normalization without parameters."""


def native(last: bool) -> nn.Sequential:
    """The head as its authors write it, in float64, with statistics as after training."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)]
    head = nn.Sequential(*layers, *([nn.BatchNorm1d(5, affine=False)] if last else [])).double()
    with torch.no_grad():
        for _ in range(3):
            head(images(9))
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def images(batch: int) -> Tensor:
    return torch.randn(batch, 12, dtype=torch.float64)


@pytest.mark.parametrize("last", [False, True])
def test_the_state_dict_of_torch_s_own_layers_loads_and_trains_alike(last: bool, tmp_path: Path) -> None:
    path = tmp_path / "head.yaml"
    path.write_text(HEAD + (LAST if last else ""))
    theirs = native(last)
    torch.save(theirs.state_dict(), tmp_path / "head.pth")
    ours = resnet_spec.build(path, "torch", weights=tmp_path / "head.pth", dtype="float64")

    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [type(module) for module in ours.children()] == [type(module) for module in theirs]
    batch = images(4)
    torch.testing.assert_close(ours(batch), theirs.eval()(batch), rtol=0, atol=0)
    for model in (ours, theirs):
        optimizer = torch.optim.SGD(model.train().parameters(), lr=0.1, momentum=0.9)
        for step in range(2):
            optimizer.zero_grad()
            model(batch + step).square().mean().backward()
            optimizer.step()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=0, atol=0)
    assert ours.state_dict()["1.num_batches_tracked"] > 2
