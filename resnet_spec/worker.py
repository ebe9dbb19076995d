"""One backend in a process of its own, so that two frameworks never share one; arrays travel in files.

Run as ``python -m resnet_spec.worker BACKEND``. A request is a line of JSON on standard input, an answer one on
standard output; whatever a framework prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from resnet_spec.backends import Backend, DType, get_backend
from resnet_spec.checkpoints.safetensors_files import read_safetensors, write_safetensors
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph


class _Worker:
    """The backend, and the model it was last asked to load."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.model: Any = None
        self.graph: Graph | None = None
        self.dtype: DType = "float32"

    def load(self, request: Mapping[str, Any]) -> None:
        """Compile a graph and load its weights."""
        # The last model's memory is needed before, not after, the next is there.
        self.model = None
        graph = Graph.from_json(Path(request["graph"]).read_bytes())
        weights = read_safetensors(Path(request["weights"])).tensors
        arrays = {name: array.astype(request["dtype"], copy=False) for name, array in weights.items()}
        self.model = self.backend.compile(graph, dtype=request["dtype"])
        self.backend.load(self.model, graph, arrays)
        self.graph, self.dtype = graph, request["dtype"]

    def forward(self, request: Mapping[str, Any]) -> None:
        """Run the model once; the outputs, and in training the arrays after it, are left in files."""
        import numpy as np

        assert self.graph is not None  # noqa: S101 - the other end loads first
        images = np.load(request["images"]).astype(self.dtype, copy=False)
        outputs = self.backend.forward(self.model, images, training=request["training"])
        np.savez(request["outputs"], *outputs)
        if request["training"]:
            write_safetensors(Path(request["after"]), self.backend.arrays(self.model, self.graph))


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        worker = _Worker(get_backend(sys.argv[1]))
    except ResnetSpecError as error:
        _answer(answers, {"error": str(error)})
        return
    _answer(answers, {"environment": worker.backend.environment()})
    commands = {"load": worker.load, "forward": worker.forward}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            commands[request["command"]](request)
        except MemoryError:
            _answer(answers, {"error": "out of memory"})
        except Exception as error:
            _answer(answers, {"error": f"{type(error).__name__}: {error}"})
        else:
            _answer(answers, {})


def _answer(stream: IO[str], answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
