"""Building a torch model with weights, every tensor used vs. torchvision's constructor and loaders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
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


def ours(name: str, path: Path, *, mmap: bool = False) -> Callable[[], nn.Module]:
    return lambda: touch(resnet_spec.build(f"torchvision/{name}", "torch", weights=path, mmap=mmap))


def theirs(name: str, load: Callable[[], dict[str, torch.Tensor]]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = getattr(models(), name)(weights=None)
        model.load_state_dict(load())
        return touch(model)

    return build


def run() -> Iterator[Ratio]:
    for name in ("resnet50", "resnet152"):
        with tempfile.TemporaryDirectory() as folder:
            pth, safetensors = Path(folder) / "weights.pth", Path(folder) / "weights.safetensors"
            state = getattr(models(), name)(weights=None).state_dict()
            torch.save(state, pth)
            save_file(state, safetensors)
            by_pickle = theirs(name, lambda pth=pth: torch.load(pth, weights_only=True))
            by_safetensors = theirs(name, lambda safetensors=safetensors: load_file(safetensors))
            for mmap, target in ((False, "≤ 1/3"), (True, "≤ 1/4")):
                mode = " and mmap=True" if mmap else ""
                for path in (safetensors, pth):
                    label = f"build {name} with a {path.suffix} file{mode} in torch vs. torchvision + torch.load"
                    yield measure(label, ours(name, path, mmap=mmap), by_pickle, 9, target=target)
                label = f"build {name} with a .safetensors file{mode} in torch vs. torchvision + safetensors"
                yield measure(label, ours(name, safetensors, mmap=mmap), by_safetensors, 9, target="≤ 1/2")
