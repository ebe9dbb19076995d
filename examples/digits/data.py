"""Scikit-learn's digits, and the batches of each epoch: the same in every framework."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
SPEC = HERE / "network.yaml"

EPOCHS = 8
BATCH = 64
RATE = 0.05
MOMENTUM = 0.9
TRAINED = 1344
"""Images that are trained on, 21 batches; the others are tested."""


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images (1797, 1, 8, 8) from -1 to 1, in float32 and in a random order, and their classes."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return (found.images[order, None] / 8 - 1).astype("float32"), found.target[order]


def batches(epoch: int) -> Iterator[np.ndarray]:
    """Yield the indices of each batch of an epoch."""
    order = np.random.default_rng([1, epoch]).permutation(TRAINED)
    yield from order.reshape(-1, BATCH)


def record(path: Path, losses: Sequence[float], accuracies: Sequence[float]) -> None:
    """Write the mean loss of each epoch, and the accuracy on the tested images after it."""
    path.write_text(json.dumps({"loss": list(losses), "accuracy": list(accuracies)}) + "\n", "utf-8")
