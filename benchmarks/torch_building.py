"""Building a torch model with weights, every tensor read, vs. torchvision's constructor and loaders."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import resnet_spec
from benchmarks.pairs import Ratio, measure
from tests.oracles.torchvision_original import models


def touch(model: nn.Module) -> nn.Module:
    """Read every element, so that a mapped file counts as loaded only once it is read."""
    for tensor in model.state_dict().values():
        tensor.sum()
    return model


def run() -> Iterator[Ratio]:
    for name in ("resnet50", "resnet152"):
        with tempfile.TemporaryDirectory() as folder:
            pth, safetensors = Path(folder) / "weights.pth", Path(folder) / "weights.safetensors"
            state = getattr(models(), name)(weights=None).state_dict()
            torch.save(state, pth)
            save_file(state, safetensors)

            def ours(name: str = name, path: Path = safetensors) -> nn.Module:
                return touch(resnet_spec.build(f"torchvision/{name}", "torch", weights=path))

            def by_pickle(name: str = name, path: Path = pth) -> nn.Module:
                model = getattr(models(), name)(weights=None)
                model.load_state_dict(torch.load(path, weights_only=True))
                return touch(model)

            def by_safetensors(name: str = name, path: Path = safetensors) -> nn.Module:
                model = getattr(models(), name)(weights=None)
                model.load_state_dict(load_file(path))
                return touch(model)

            label = f"build {name} with weights in torch vs. torchvision"
            yield measure(f"{label} + torch.load", ours, by_pickle, 9, target="≤ 1/4")
            yield measure(f"{label} + safetensors", ours, by_safetensors, 9, target="≤ 1/3")
