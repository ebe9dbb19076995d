"""Shared by the comparisons with original implementations: gates, sizes, images, and one worker process per backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import random_images
from tests.backend_pool import shared_backends

from .gates import GATES

# (size, batch). 224 and 150 are even at the stem; 199 is odd at every stage but does not stay so, so that `same` is
# asymmetric there.
SHAPES = ((224, 1), (150, 3), (199, 1))


def images(size: int, batch: int, channels: int = 3) -> NDArray[np.float64]:
    """Images of one size; they differ for each size and batch."""
    return random_images((batch, channels, size, size), seed=1000 * size + batch)


def relative(result: NDArray[Any], wanted: NDArray[Any], deviation: float) -> float:
    """The largest difference in standard deviations of the float64 reference."""
    assert result.shape == wanted.shape
    return float(np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max()) / deviation


def deviation_of(wanted: Mapping[tuple[int, int], Mapping[str, NDArray[Any]]]) -> float:
    """Standard deviation of an original's float64 logits, all of them together."""
    return float(np.concatenate([r["float64"] for r in wanted.values() if "float64" in r]).std())


@contextmanager
def worker(backend: str) -> Iterator[BackendProcess]:
    """A backend in its own process, which later modules use too: two frameworks never share one."""
    with shared_backends(), BackendProcess(backend) as process:
        process.ready()
        yield process


def logits_of(process: BackendProcess, batch: NDArray[Any]) -> NDArray[Any]:
    """The output of the process's model for a batch."""
    process.forward(batch)
    return process.outputs()[-1]


def assert_within_gates(
    process: BackendProcess, graph: Graph, weights: Path, wanted: Mapping[tuple[int, int], Mapping[str, NDArray[Any]]]
) -> None:
    """Compare a backend with an original's logits, given by (size, batch) and dtype."""
    graph = graph.with_outputs([graph.logits])
    deviation = deviation_of(wanted)
    for dtype, gate in GATES.items():
        process.load(graph, weights, dtype)
        for (size, batch), reference in wanted.items():
            if dtype in reference:
                error = relative(logits_of(process, images(size, batch)), reference[dtype], deviation)
                assert error < gate, f"{graph.name} {dtype} at {batch}×{size}×{size}: {error:.1e} × std"
