"""``python -m tests.golden.making``: record the golden traces again, each with the original implementation.

The originals run in three processes: PyTorch, Keras 3, and TensorFlow 1 with its own Keras. Names or patterns
(``blocks/*``) choose some of them. No backend of this package takes part.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from fnmatch import fnmatchcase

from resnet_spec.parity.trace import Trace, machine, write_trace

from .cases import CASES, SEED, arrays_of, graph_of, images_of, path_of
from .original import Original

MODULES = ("in_torch", "in_tensorflow", "in_tensorflow1")


def main() -> None:
    """Record the traces that the patterns choose; status 1 if a case has no original, or an original no case."""
    if sys.argv[1:2] and sys.argv[1] in MODULES:
        _make(sys.argv[1], sys.argv[2:])
        return
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    for module in MODULES:
        command = [sys.executable, "-m", "tests.golden.making", module, *sys.argv[1:]]
        status = subprocess.run(command, env=environment).returncode
        if status:
            raise SystemExit(status)


def _make(module: str, patterns: list[str]) -> None:
    """The traces of the originals in one module."""
    originals: dict[str, Original] = importlib.import_module(f"tests.golden.{module}").ORIGINALS
    for name, original in originals.items():
        if name not in CASES:
            raise SystemExit(f"{module}: {name} is no case")
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns):
            trace = made(name, original)
            path_of(name).parent.mkdir(parents=True, exist_ok=True)
            write_trace(path_of(name), trace)
            print(f"{name}: {len(trace.nodes)} of {len(trace.graph.nodes)} nodes, {trace.source}")


def made(name: str, original: Original) -> Trace:
    """What an original computes of a case."""
    graph = graph_of(name)
    arrays, images = arrays_of(graph), images_of(graph)
    double = {key: array.astype("float64") for key, array in arrays.items()}
    values = original.run(graph, double, images)
    unknown = values.keys() - graph.by_name.keys()
    if unknown:
        raise SystemExit(f"{name}: {', '.join(sorted(unknown))} are no nodes")
    output = graph.outputs[-1]
    for node, value in values.items():
        if value.dtype != "float64" or value.shape != (len(images), *graph.by_name[node].shape):
            raise SystemExit(f"{name}: {node} is {value.dtype} of shape {value.shape}")
    return Trace(
        graph=graph,
        source=original.source,
        seed=SEED,
        weights_source="random",
        images=images.astype("float32"),
        weights=arrays,
        exact=values[output],
        # Of a single node its value is the output, which is there already.
        nodes={node.name: values[node.name] for node in graph.nodes if node.name in values} if graph.nodes[1:] else {},
        environment=original.environment,
        machine=machine(),
    )


if __name__ == "__main__":
    main()
