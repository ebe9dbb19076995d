"""What every runtime of a backend must compute: the values of the backend's float64 model, at any batch size."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import numpy as np

from resnet_spec import get_backend, initialize, load
from resnet_spec.backend.optimizing import Forms, finish, optimized
from resnet_spec.backend.runtime import RunningBackend

# Outputs whose names are not in the order of the alphabet, in which TensorFlow puts them.
TEXT = """
    input: {channels: 3, height: 17, width: 16}
    layers:
      norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
      act: relu
    stem:
      stem: {conv2d: {channels: 8, kernel: 3, stride: 2, padding: same}}
      bn: norm
      relu: act
    stages:
      body: {block: basic_block, channels: 12, stride: 2}
    head: {pool: global_avg_pool, flatten: flatten, fc: {linear: {features: 5}}}
    outputs: [relu, body, fc]
    named_outputs: true
"""


def check_runtime(backend_name: str, runtime: str, folder: Path) -> None:
    """Write, load and run a network; its outputs must be those of the float64 model, each in its place."""
    backend = cast("RunningBackend", get_backend(backend_name))
    path = folder / "net.yaml"
    path.write_text(dedent(TEXT), "utf-8")
    graph = load(path).to_graph()
    random = np.random.default_rng(5)
    arrays: dict[str, Any] = {name: array + random.uniform(0.1, 0.3, array.shape).astype("float32")
                              for name, array in initialize(graph).items()}  # fmt: skip
    exact = backend.compile(graph, dtype="float64")
    backend.load(exact, graph, {name: array.astype("float64") for name, array in arrays.items()})
    kind = backend.runtimes[runtime]
    forms = optimized(backend, graph) if kind.optimized else Forms.unchanged(graph)
    model = backend.compile(forms.graphs[-1], dtype="float32")
    backend.load(model, forms.graphs[-1], forms.rewriting.arrays(arrays))
    if kind.optimized:
        finish(backend, model)
    file = folder / f"model{kind.ending}"
    backend.write(model, forms.graphs[-1], file)
    opened = backend.open_runtime(runtime, forms.graphs[-1], file, 2)
    for batch in (2, 1):
        images = random.standard_normal((batch, *graph.input.shape))
        found = opened.values(opened.run(opened.convert(images.astype("float32"))))
        wanted = backend.forward(exact, images)
        assert len(found) == len(wanted) == 3
        for value, right in zip(found, wanted, strict=True):
            assert value.shape == right.shape
            assert value.dtype == np.float32
            assert np.abs(value - right).max() <= 1e-5 * right.std()
