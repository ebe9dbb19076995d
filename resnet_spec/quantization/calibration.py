"""Chooses the grids of a network from the values that images lead to."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import QuantizationError
from resnet_spec.graph import INPUT, Graph
from resnet_spec.operations import AvgPool
from resnet_spec.quantization.form import (
    KERNEL_HIGH,
    REDUCED_HIGH,
    CalibrationImages,
    Grid,
    Method,
    Quantization,
    hash_of,
    kernel_scales,
)
from resnet_spec.quantization.placement import grids_of, place
from resnet_spec.quantization.ranges import Histogram

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batches = Callable[[], Iterable["NDArray[Any]"]]
"""Returns the images in batches (N, *input), the same at each call."""

Run = Callable[["NDArray[Any]"], Sequence["NDArray[Any]"]]
"""Computes the values that were asked for, of a batch of images."""


def calibrate(
    graph: Graph,
    optimized: Graph,
    arrays: Mapping[str, NDArray[Any]],
    batches: Batches,
    runner: Callable[[Sequence[str]], Run],
    *,
    method: Method = "minmax",
    keep: Sequence[str] = (),
    reduce_range: bool = False,
) -> Quantization:
    """Choose what is quantized, and the grid of each value and kernel.

    Args:
        graph: The spec's graph.
        optimized: What ``optimize`` made of it.
        arrays: The arrays of the latter.
        batches: The images; they are gone through twice, or once for ``minmax``.
        runner: Returns a function that computes the values of these nodes in float.
        method: How the range of each value is chosen; kernels keep all their numbers.
        keep: Patterns of the names of nodes that stay in float.
        reduce_range: Whether kernels have 7 bits, for processors that add two products in 16 bits.

    Returns:
        The quantization.

    Raises:
        QuantizationError: Nothing is to be quantized, no image is given, or a value is not finite.
    """
    placement = place(optimized, keep)
    nodes = [name for name in placement.values if name != INPUT]
    run = runner(nodes)
    found = {name: Histogram(name) for name in placement.values}
    digest, count = hashlib.sha256(), 0

    def values(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {INPUT: batch} | dict(zip(nodes, run(batch), strict=True))

    for batch in batches():
        digest.update(batch.astype("<f4", copy=False).tobytes())
        count += len(batch)
        given = values(batch)
        for name, histogram in found.items():
            histogram.see(given[name])
    if not count:
        raise QuantizationError("no image was given")
    small = [name for name, histogram in found.items() if histogram.is_below_every_grid]
    if small:
        more = f" and {len(small) - 1} more values" if small[1:] else ""
        log.warning("%s%s: all numbers are too small for an 8-bit grid, and become 0 or a few codes", small[0], more)
    if method != "minmax":
        for batch in batches():
            given = values(batch)
            for name, histogram in found.items():
                histogram.count(given[name])
    high = REDUCED_HIGH if reduce_range else KERNEL_HIGH
    grids = {name: histogram.grid(method) for name, histogram in found.items()}
    chosen = Quantization(
        network=graph.name,
        fingerprint=graph.fingerprint,
        weights=hash_of({parameter.name: arrays[parameter.name] for parameter in optimized.parameters()}),
        method=method,
        images=CalibrationImages(count=count, sha256=digest.hexdigest()),
        kept=tuple(keep),
        values=grids,
        kernels={name: kernel_scales(arrays[name], high) for name in placement.kernels},
    )
    return chosen.model_copy(update={"values": _with_shared_grids(optimized, chosen)})


def _with_shared_grids(graph: Graph, quantization: Quantization) -> dict[str, Grid]:
    """Return the grids with those of average pools replaced by those of their inputs, as TFLite demands it."""
    grids = dict(quantization.values)
    for node in graph.nodes:
        if isinstance(node.operation, AvgPool) and node.name in grids:
            known = grids_of(graph, quantization.model_copy(update={"values": grids}))
            grids[node.name] = known.get(node.inputs[0], grids[node.name])
    return grids
