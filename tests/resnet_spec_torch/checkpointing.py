"""What keeps running statistics as they are where activation checkpointing computes a forward pass again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """As docs/training.md has it."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])
