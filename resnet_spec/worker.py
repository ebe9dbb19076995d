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

from resnet_spec.backends import Backend, get_backend
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.weights import read_safetensors, write_safetensors


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        backend = get_backend(sys.argv[1])
    except ResnetSpecError as error:
        _answer(answers, {"error": str(error)})
        return
    _answer(answers, {"environment": backend.environment()})
    for line in sys.stdin:
        try:
            _answer(answers, _run(backend, json.loads(line)))
        except MemoryError:
            _answer(answers, {"error": "out of memory"})
        except Exception as error:
            _answer(answers, {"error": f"{type(error).__name__}: {error}"})


def _answer(stream: IO[str], answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def _run(backend: Backend, request: Mapping[str, Any]) -> dict[str, Any]:
    """Compile, load and run once; the outputs, and in training the arrays after it, are left in files."""
    import numpy as np

    graph = Graph.from_json(Path(request["graph"]).read_bytes())
    weights, _ = read_safetensors(Path(request["weights"]))
    dtype, training = request["dtype"], request["training"]
    arrays = {name: array.astype(dtype, copy=False) for name, array in weights.items()}
    model = backend.compile(graph, dtype=dtype)
    backend.load(model, graph, arrays)
    images = np.load(request["images"]).astype(dtype, copy=False)
    outputs = backend.forward(model, images, training=training)
    np.savez(request["outputs"], *outputs)
    if training:
        write_safetensors(Path(request["after"]), backend.arrays(model, graph))
    return {"done": True}


if __name__ == "__main__":
    main()
