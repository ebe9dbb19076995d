"""``python -m tests.oracles.reading GRAPH RESULT FILE...``: an original's files, read by the public function.

All of them must hold the same numbers, which are left in RESULT. A process of its own, since a file may need a
framework.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from resnet_spec import Graph, read_weights
from resnet_spec.weights.formats.safetensors import write_safetensors


def main() -> None:
    """Read, compare, and leave the arrays."""
    graph = Graph.from_json(Path(sys.argv[1]).read_bytes())
    first, *others = sys.argv[3:]
    arrays = read_weights(first, graph)
    for other in others:
        for name, array in read_weights(other, graph).items():
            assert np.array_equal(array, arrays[name]), f"{name} differs between {first} and {other}"
    write_safetensors(Path(sys.argv[2]), arrays)


if __name__ == "__main__":
    main()
