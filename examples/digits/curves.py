"""Draw the losses and accuracies of both trainings in one picture: python curves.py OUTPUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

TRAININGS = {"torch": "torchrun --nproc-per-node 2 train_torch.py", "keras": "python train_keras.py"}


def main(output: Path) -> None:
    """Draw what both trainings recorded."""
    for name, command in TRAININGS.items():
        if not (output / f"{name}.json").exists():
            sys.exit(f"{output / name}.json: no such file; run this first: {command} {output}")
    curves = {name: json.loads((output / f"{name}.json").read_text()) for name in TRAININGS}
    figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for (name, curve), style in zip(curves.items(), ("-", "--"), strict=True):
        epochs = range(1, len(curve["loss"]) + 1)
        losses.plot(epochs, curve["loss"], style, label=name)
        accuracies.plot(epochs, curve["accuracy"], style, label=name)
    losses.set(xlabel="epoch", ylabel="loss", yscale="log")
    accuracies.set(xlabel="epoch", ylabel="accuracy")
    losses.legend()
    figure.savefig(output / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
