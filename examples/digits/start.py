"""Write the weights that both trainings start from: python start.py OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import data

import resnet_spec


def main(output: Path) -> None:
    """Write the start."""
    output.mkdir(parents=True, exist_ok=True)
    graph = resnet_spec.load(data.SPEC).to_graph()
    resnet_spec.write_weights(output / "start.safetensors", graph, resnet_spec.initialize(graph, seed=0), force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
