"""Initializes weights at random in NumPy by the spec's own rules, so that every backend starts from the same."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod, sqrt
from typing import TYPE_CHECKING

from resnet_spec.operations import KERNELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter

from resnet_spec.graph.initialization_rules import Constant


def fans(kernel: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a kernel laid out (out, in / groups, ...), as PyTorch counts them.

    For a transposed convolution's kernel (in, out, ...) PyTorch and Keras count the same way, which makes the output's
    channels its fan in.
    """
    window = prod(kernel[2:])
    return kernel[1] * window, kernel[0] * window


def initialize(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Initialize every parameter of a graph at random, by the graph's initialization rules.

    Each parameter has its own random stream, seeded by ``seed`` and its name, so that adding a layer to a spec does not
    change the weights of the others.

    Args:
        graph: The network.
        seed: The seed of the random numbers.

    Returns:
        float32 arrays by parameter name, with shapes as PyTorch lays them out.

    Examples:
        >>> import resnet_spec
        >>> arrays = resnet_spec.initialize(resnet_spec.load("cifar/resnet20").to_graph(), seed=1)
        >>> arrays["linear.weight"].shape, str(arrays["linear.weight"].dtype)
        ((10, 64), 'float32')
    """
    return draw(graph, graph.parameters(), seed)


def draw(graph: Graph, parameters: Iterable[Parameter], seed: int) -> dict[str, NDArray[np.float32]]:
    """Initialize some parameters of a graph, as ``initialize`` does."""
    import zlib

    import numpy as np

    kernels = {p.node: p.shape for p in graph.parameters() if p.role in KERNELS}
    arrays: dict[str, NDArray[np.float32]] = {}
    for parameter in parameters:
        rule = graph.initialization.rule(parameter)
        if isinstance(rule, Constant):
            arrays[parameter.name] = np.full(parameter.shape, rule.constant, np.float32)
            continue
        deviation = rule.deviation(*fans(kernels.get(parameter.node, (prod(parameter.shape[:1]), 1))))
        rng = np.random.default_rng([seed, zlib.crc32(parameter.name.encode())])
        arrays[parameter.name] = _draw(rng, rule.distribution, deviation, parameter.shape)
    return arrays


def _draw(rng: np.random.Generator, distribution: str, deviation: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    import numpy as np

    if distribution == "uniform":
        # In place, since the largest kernels have hundreds of MiB.
        values = rng.random(shape, dtype=np.float32)
        values -= np.float32(0.5)
        values *= np.float32(2 * sqrt(3) * deviation)
        return values
    values = rng.standard_normal(shape, dtype=np.float32)
    if distribution == "truncated_normal":
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(int(outside.sum()), dtype=np.float32)
        # The standard deviation of a normal distribution cut at ±2.
        values /= np.float32(0.87962566103423978)
    values *= np.float32(deviation)
    return values
