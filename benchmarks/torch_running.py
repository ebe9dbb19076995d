"""Running a torch model vs. torchvision's: eager inference, and a training step with its peak memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

import resnet_spec
from benchmarks.pairs import Ratio, measure, summarize
from tests.oracles.torchvision_original import models

NAME = "resnet50"
BATCH = 8


def both() -> tuple[nn.Module, nn.Module]:
    theirs = getattr(models(), NAME)(weights=None)
    arrays = {k: v.numpy() for k, v in theirs.state_dict().items()}
    return resnet_spec.build(f"torchvision/{NAME}", "torch", weights=arrays), theirs.eval()


def step(model: nn.Module, batch: int) -> Callable[[], None]:
    """One step of SGD with momentum."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images, labels = torch.randn(batch, 3, 224, 224), torch.arange(batch)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


def inference(model: nn.Module, images: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    return run


def run() -> Iterator[Ratio]:
    ours, theirs = both()
    for batch, pairs in ((1, 120), (BATCH, 40)):
        images = torch.randn(batch, 3, 224, 224)
        name = f"eager inference of {NAME} in torch, batch {batch}"
        yield measure(name, inference(ours, images), inference(theirs, images), pairs, target="median ≤ 1.02")
    name = f"training step of {NAME} in torch, batch {BATCH}"
    yield measure(name, step(ours, BATCH), step(theirs, BATCH), 40, target="median ≤ 1.02")
    peaks = [(peak("ours"), peak("theirs")) for _ in range(5)]
    yield summarize(f"peak memory of a process that trains {NAME}, batch {BATCH} (GiB)", np.array(peaks))


def peak(side: str) -> float:
    """Peak resident memory, in GiB, of a process that takes three training steps."""
    command = [sys.executable, "-m", "benchmarks.torch_running", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    ours, theirs = both()
    run_step = step(ours if sys.argv[1] == "ours" else theirs, BATCH)
    for _ in range(3):
        run_step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
