"""Train in PyTorch, each process with its part of every batch: torchrun --nproc-per-node 2 train_torch.py OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import data
import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import resnet_spec


def main(output: Path) -> None:
    """Train as one of torchrun's processes; the first one records."""
    distributed.init_process_group("gloo")
    rank, count = distributed.get_rank(), distributed.get_world_size()
    images, classes = map(torch.from_numpy, data.digits())
    model = resnet_spec.build(data.SPEC, "torch", output / "start.safetensors", training=True, synchronized=True)
    replica = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(replica.parameters(), lr=data.RATE, momentum=data.MOMENTUM)
    losses, accuracies = [], []
    for epoch in range(data.EPOCHS):
        found = []
        for batch in data.batches(epoch):
            own = torch.from_numpy(np.split(batch, count)[rank])
            loss = nn.functional.cross_entropy(replica(images[own]), classes[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.detach())
        mean = torch.stack(found).mean()
        # Each process knows the loss of its own images.
        distributed.all_reduce(mean)
        losses.append(mean.item() / count)
        model.eval()
        with torch.no_grad():
            right = model(images[data.TRAINED :]).argmax(1) == classes[data.TRAINED :]
        accuracies.append(right.double().mean().item())
        model.train()
    if rank == 0:
        data.record(output / "torch.json", losses, accuracies)
        resnet_spec.save(model, output / "torch.safetensors", force=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
