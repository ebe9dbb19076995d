"""The optimizers' formulas in plain NumPy, on one linear layer, to compare frameworks with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.graph import Graph, Input, Node
from resnet_spec.operations import Linear

Array = NDArray[np.float64]
Arrays = dict[str, Array]
Batch = tuple[Array, list[Array]]

STEPS = 10

CHOICES: dict[str, Optimizer] = {
    "plain": SGD(momentum=0.0, weight_decay=0.0),
    "decay": SGD(momentum=0.0, weight_decay=0.1),
    "momentum": SGD(weight_decay=0.0),
    "momentum and decay": SGD(weight_decay=0.1),
    "nesterov": SGD(weight_decay=0.1, nesterov=True),
    "nesterov without momentum": SGD(momentum=0.0, nesterov=True),
    "constant rate": SGD(rate_factor=1.0),
    "adamw": AdamW(),
    "adamw without decay": AdamW(weight_decay=0.0),
    "adamw of large epsilon": AdamW(epsilon=1e-3, weight_decay=0.1, learning_rate=0.1),
}

LINEAR = Graph(
    name="linear",
    input=Input(features=4),
    nodes=(Node(name="fc", operation=Linear(op="linear", features=3), inputs=("input",), shape=(3,)),),
    outputs=("fc",),
)


def start() -> Arrays:
    """The layer's parameters before the first step."""
    generator = np.random.default_rng(0)
    return {"fc.weight": generator.standard_normal((3, 4)), "fc.bias": generator.standard_normal(3)}


def batches(steps: int = STEPS) -> list[Batch]:
    """Images (5, 4) and targets (5, 3)."""
    generator = np.random.default_rng(1)
    return [(generator.standard_normal((5, 4)), [generator.standard_normal((5, 3))]) for _ in range(steps)]


def loss_and_gradients(arrays: Arrays, images: Array, targets: Array) -> tuple[float, Arrays]:
    """Half the mean square of the residual, differentiated by hand."""
    left = images @ arrays["fc.weight"].T + arrays["fc.bias"] - targets
    slope = left / left.size
    return float(np.square(left).mean() / 2), {"fc.weight": slope.T @ images, "fc.bias": slope.sum(0)}


def trained(optimizer: Optimizer, given: Iterable[Batch]) -> tuple[list[float], Arrays]:
    """The losses before each step, and the parameters after the last."""
    arrays, losses = start(), []
    first: dict[str, Any] = dict.fromkeys(arrays, 0.0)
    second: dict[str, Any] = dict.fromkeys(arrays, 0.0)
    for t, (images, (targets,)) in enumerate(given, start=1):
        loss, gradients = loss_and_gradients(arrays, images, targets)
        losses.append(loss)
        for name, g in gradients.items():
            w, rate = arrays[name], optimizer.rate(t)
            match optimizer:
                case SGD(momentum=momentum):
                    g = g + optimizer.weight_decay * w
                    first[name] = momentum * first[name] + g
                    w = w - rate * (g + momentum * first[name] if optimizer.nesterov else first[name])
                case AdamW(beta1=beta1, beta2=beta2):
                    w = w - rate * optimizer.weight_decay * w
                    first[name] = beta1 * first[name] + (1 - beta1) * g
                    second[name] = beta2 * second[name] + (1 - beta2) * g**2
                    step = first[name] / (1 - beta1**t)
                    w = w - rate * step / (np.sqrt(second[name] / (1 - beta2**t)) + optimizer.epsilon)
            arrays[name] = w
    return losses, arrays


def apart(left: Arrays, right: Arrays) -> float:
    """The largest difference of a parameter."""
    return max(float(np.abs(left[name] - right[name]).max()) for name in right)
