"""``python -m tests.oracles.training_batch BACKEND GRAPH WEIGHTS IMAGES RESULT``: our arrays after a training batch.

In float64, with the running variance as the graph states it; in its own process, since two frameworks never share one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from resnet_spec import Graph, read_weights
from resnet_spec.backend.registry import get_backend
from resnet_spec.parity.randomization import calibrating
from resnet_spec.weights.formats.safetensors import write_safetensors


def main() -> None:
    """Run the batch and leave the arrays."""
    name, *paths = sys.argv[1:]
    described, weights, images, result = map(Path, paths)
    graph = Graph.from_json(described.read_bytes())
    backend, calibrated = get_backend(name), calibrating(graph)
    model = backend.compile(calibrated, dtype="float64", exact_statistics=True)
    backend.load(model, calibrated, read_weights(weights, graph))
    backend.forward(model, np.load(images), training=True)
    write_safetensors(result, backend.arrays(model, calibrated))


if __name__ == "__main__":
    main()
