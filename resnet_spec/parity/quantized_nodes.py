"""Compare each node of an 8-bit network with the exact reference, in the process of one backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.quantizing import quantizing
from resnet_spec.graph import INPUT
from resnet_spec.parity.quantized_causes import causes_of
from resnet_spec.parity.report import largest_difference, root_mean_square
from resnet_spec.quantization import IntegerReference, Quantization

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Backend
    from resnet_spec.graph import Graph, Node
    from resnet_spec.quantization import Value

    Arrays = Mapping[str, NDArray[Any]]

STEPS = 1.001
"""Codes that a value may differ by, and what float32 makes of it."""

OFF_GRID = 0.001
"""How far a value may be from the nearest number of its grid, in steps: what float32 makes of it."""

EXPLAINED = 0.05
"""How far an explanation may be from a value that differs by less than a code, in steps: rounding of a bias."""

BIAS = 0.25
"""The mean of the codes that a value may differ by.

Where every second number is as far from one code as from the next, as half a sum of two codes is, a runtime that always
chooses the upper one is higher by one in a half of these, on which the even code is the lower one.
"""

MIDPOINT = 0.499
"""How far an image's number may be from its code, in steps, so that each runtime rounds it to that code."""

FLOAT = 1e-4
"""How far a value in float may be from the reference's, of its root mean square: float32's rounding in any layer."""


class JudgedCodes(NamedTuple):
    """What one node differs by from the reference, given the same inputs.

    Attributes:
        name: The node's name.
        largest: The largest difference of its value; or where that is allowed, but its mean or the distance from the
            grid's numbers is not, that.
        allowed: What is allowed: one step of its grid, about a quarter of one in the mean, float32's rounding from its
            numbers.
        size: The root mean square of its value.
        causes: Known mistakes that explain a difference beyond it.
        tried: How many were tried.
    """

    name: str
    largest: float
    allowed: float
    size: float
    causes: Sequence[str] = ()
    tried: int = 0

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; never with NaN."""
        return self.largest <= self.allowed


def between_midpoints(images: NDArray[Any], quantization: Quantization) -> NDArray[Any]:
    """Move the numbers of images that are nearly as far from one code as from the next, as many of photographs are.

    The codes of the input are not compared, so every runtime must round to the same.

    Args:
        images: (N, *input).
        quantization: What is quantized.

    Returns:
        The images, in float32.
    """
    import numpy as np

    grid = quantization.values.get(INPUT)
    images = images.astype("float32", copy=False)
    if grid is None:
        return images
    nearest = grid.rounded(images)
    reach = np.where((grid.limits[0] < images) & (images < grid.limits[1]), MIDPOINT * grid.scale, np.inf)
    return images.clip(nearest - reach, nearest + reach).astype("float32")


def reference_of(
    backend: Backend, model: Any, graph: Graph, arrays: Arrays, quantization: Quantization,
    generator: np.random.Generator | None = None,
) -> IntegerReference:  # fmt: skip
    """Return the reference, for which a float64 model of the optimized graph computes what stays in float."""

    def apply(node: Node, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return backend.apply(model, graph, node.name, inputs)

    return IntegerReference(graph, arrays, quantization, apply, generator)


def judge_codes(
    backend: Backend, graph: Graph, arrays: Arrays, reference: IntegerReference, quantization: Quantization,
    images: NDArray[Any],
) -> list[JudgedCodes]:  # fmt: skip
    """Compare each value of an 8-bit model with what the reference computes of the model's own values before it.

    The model runs as a whole, so that layers which a runtime fuses are computed as they are in use.

    Args:
        backend: The backend.
        graph: The optimized graph.
        arrays: Its arrays.
        reference: The reference.
        quantization: What is quantized.
        images: (N, *input).

    Returns:
        One judgment for each value that is on a grid and for each output, in order; only the first wrong one is
        explained.
    """
    names = [node.name for node in graph.nodes if node.name in quantization.values or node.name in graph.outputs]
    whole = graph.with_outputs(names)
    model = quantizing(backend).compile_quantized(whole, quantization, dtype="float32")
    backend.load(model, whole, arrays)
    observed = dict(zip(names, backend.forward(model, images.astype("float32")), strict=True))
    values = {INPUT: reference.on_grid(INPUT, images)}
    found: list[JudgedCodes] = []
    explained = False
    for node in whole.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = value = reference.value(node, inputs)
        if node.name not in observed:
            continue
        judged = _judged(node.name, value, observed[node.name])
        if not judged.passed and not explained:
            within = judged.allowed
            if value.grid is not None and within < value.grid.scale:
                # Within a code every small mistake would explain it.
                within = EXPLAINED * value.grid.scale
            causes, tried = causes_of(reference, node, values, observed[node.name], within)
            judged, explained = judged._replace(causes=causes, tried=tried), True
        found.append(judged)
        values[node.name] = reference.on_grid(node.name, observed[node.name])
    return found


def _judged(name: str, value: Value, observed: NDArray[Any]) -> JudgedCodes:
    import numpy as np

    largest, size = largest_difference(observed, value.real), root_mean_square(value.real)
    if value.grid is None:
        return JudgedCodes(name, largest, FLOAT * size, size)
    scale = value.grid.scale
    difference = JudgedCodes(name, largest, STEPS * scale, size)
    if not difference.passed:
        return difference
    steps = observed.astype(np.float64) / scale
    off_grid = float(np.abs(steps - np.rint(steps)).max())
    mean = abs(float((steps - value.real / scale).mean()))
    others = (
        JudgedCodes(name, off_grid * scale, OFF_GRID * scale, size),
        JudgedCodes(name, mean * scale, (BIAS + 1 / np.sqrt(steps.size)) * scale, size),
    )
    return next((judged for judged in others if not judged.passed), difference)
