"""Filling a large torch network from safetensors, every tensor read, vs. safetensors' own loader."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

import resnet_spec
from benchmarks.pairs import Ratio, measure
from resnet_spec.backend.registry import get_backend

NETWORK = "torchvision/resnext101_64x4d"


def run() -> Iterator[Ratio]:
    graph = resnet_spec.load(NETWORK).to_graph()
    backend = get_backend("torch")
    # Compiled in advance: only reading the file and filling the model are timed.
    models = [backend.compile(graph) for _ in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        resnet_spec.write_weights(path, graph, resnet_spec.initialize(graph, 0))

        def ours() -> object:
            model = models.pop()
            backend.load(model, graph, resnet_spec.read_weights(path, graph))
            # Only the file's tensors, as in `theirs`: the counters of training steps are not in the file.
            for name, tensor in model.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    tensor.sum()
            return model

        def theirs() -> object:
            tensors = load_file(path)
            for tensor in tensors.values():
                tensor.sum()
            return tensors

        yield measure("fill resnext101_64x4d vs. safetensors' load_file", ours, theirs, 15, target="≤ 1.1")
