"""What a quantized network computes, exactly: sums of products of codes in NumPy, and one rounding of each value.

A runtime multiplies a sum by the scales in its own way, in float32 or by a whole number and a shift, so that its codes
may differ by one from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.errors import QuantizationError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Conv, Linear
from resnet_spec.quantization.arithmetic import FORMULAS, convolve
from resnet_spec.quantization.form import HIGH, LOW, Grid, Quantization, kernel_codes
from resnet_spec.quantization.placement import grids_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BIAS_LIMIT = 2**31 - 1
"""The largest code of a bias, which is an int32."""

Apply = Callable[[Node, Sequence["NDArray[Any]"]], "NDArray[Any]"]
"""Computes a node's value from those of its inputs, in float64."""


class Value(NamedTuple):
    """A value of the network, (N, ...).

    Attributes:
        real: Its numbers in float64.
        grid: The grid on which they are, or None.
        codes: Their codes in int8, if there is a grid.
    """

    real: NDArray[Any]
    grid: Grid | None = None
    codes: NDArray[Any] | None = None


class IntegerReference:
    """A quantized network in NumPy.

    Args:
        graph: The optimized graph.
        arrays: Its arrays.
        quantization: What is quantized.
        apply: Computes in float64 the operations that are not computed in integers; without it they are an error.
        generator: Moves each code at random by -1, 0 or 1, as the rounding of another runtime might; None for exact
            codes.
    """

    def __init__(
        self,
        graph: Graph,
        arrays: Mapping[str, NDArray[Any]],
        quantization: Quantization,
        apply: Apply | None = None,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.graph = graph
        self._generator = generator
        self._listed = quantization.values
        self.grids = grids_of(graph, quantization)
        self._scales = quantization.kernels
        self._arrays = arrays
        self._apply = apply

    def walk(self, images: NDArray[Any]) -> Iterator[tuple[str, Value]]:
        """Compute every value in order.

        Args:
            images: (N, *input).

        Yields:
            The name, ``input`` first, and the value.
        """
        last = {name: node.name for node in self.graph.nodes for name in node.inputs}
        values = {INPUT: self.on_grid(INPUT, images)}
        yield INPUT, values[INPUT]
        for node in self.graph.nodes:
            value = self.value(node, [values[name] for name in node.inputs])
            for name in {*node.inputs}:
                if last[name] == node.name:
                    del values[name]
            if node.name in last:
                values[node.name] = value
            yield node.name, value

    def outputs(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        """Compute the outputs.

        Args:
            images: (N, *input).

        Returns:
            The real numbers of each, in the graph's order.
        """
        found = {name: value.real for name, value in self.walk(images) if name in self.graph.outputs}
        return [found[name] for name in self.graph.outputs]

    def on_grid(self, name: str, real: NDArray[Any]) -> Value:
        """Round a value to the grid of its name, if it has one.

        Args:
            name: A node's name, or ``input``.
            real: Real numbers.

        Returns:
            The value.
        """
        import numpy as np

        grid = self.grids.get(name)
        if grid is None:
            return Value(np.asarray(real, np.float64))
        codes = grid.codes(real)
        if self._generator is not None and name in self._listed:
            moved = codes.astype(np.int64) + self._generator.integers(-1, 2, codes.shape)
            codes = moved.clip(LOW, HIGH).astype(np.int8)
        return Value(grid.values(codes), grid, codes)

    def value(self, node: Node, inputs: Sequence[Value]) -> Value:
        """Compute one value from those of its inputs.

        Args:
            node: A node of the graph.
            inputs: The values of its inputs.

        Returns:
            The node's value.

        Raises:
            QuantizationError: The operation is not computed in integers, and there is no ``apply``.
        """
        if self.is_quantized(node):
            return self.on_grid(node.name, self.layer(node, inputs[0]).value())
        return self.on_grid(node.name, self.value_in_float(node, inputs))

    def is_quantized(self, node: Node) -> bool:
        """Whether a node is a layer with a quantized kernel."""
        return isinstance(node.operation, Conv | Linear) and node_kernel(node) in self._scales

    def array(self, node: Node, slot: str) -> NDArray[Any]:
        """The array of a node's parameter, in float."""
        return self._arrays[node.parameter_name(slot)]

    def value_in_float(self, node: Node, inputs: Sequence[Value]) -> NDArray[Any]:
        """Compute the value of a node without a quantized kernel, before it is rounded.

        Args:
            node: A node of the graph.
            inputs: The values of its inputs.

        Returns:
            Real numbers.

        Raises:
            QuantizationError: There is neither a formula nor an ``apply``.
        """
        real = [value.real for value in inputs]
        formula = FORMULAS.get(type(node.operation))
        if formula is not None:
            return formula(node.operation, *real)
        if self._apply is None:
            raise QuantizationError(f"{node.name}: {node.operation.op} is computed in float, by a backend")
        return self._apply(node, real)

    def layer(self, node: Node, value: Value) -> IntegerLayer:
        """Return what a layer with a quantized kernel computes with.

        Args:
            node: A convolution or linear layer whose kernel is quantized.
            value: The value of its input.

        Returns:
            Its codes and scales.
        """
        import numpy as np

        operation = node.operation
        assert isinstance(operation, Conv | Linear)  # noqa: S101 - as stated
        name = node_kernel(node)
        scales = np.asarray(self._scales[name], np.float64)
        kernel = kernel_codes(self._arrays[name], self._scales[name]).astype(np.float64)
        data = value.real
        if value.grid is not None and value.codes is not None:
            data = value.codes.astype(np.float64) - value.grid.zero_point
            scales = scales * value.grid.scale
        bias = None
        if operation.bias:
            bias = self._arrays[node.parameter_name("bias")].astype(np.float64)
            bias = bias_codes(bias, scales) if value.grid is not None else bias / scales
        return IntegerLayer(operation, data, kernel, scales, bias)


class IntegerLayer(NamedTuple):
    """A convolution or linear layer in whole numbers.

    Attributes:
        operation: What it is.
        data: The codes of its input less their zero point, (N, ...); real numbers if the input is in float.
        kernel: The codes of its kernel.
        scales: What one step of a sum is worth, for each output channel.
        bias: The codes of its bias, or None.
    """

    operation: Conv | Linear
    data: NDArray[Any]
    kernel: NDArray[Any]
    scales: NDArray[Any]
    bias: NDArray[Any] | None

    def value(self) -> NDArray[Any]:
        """The layer's value before it is rounded, (N, ...)."""
        if isinstance(self.operation, Linear):
            sums, shape = self.data @ self.kernel.T, self.scales.shape
        else:
            sums = convolve(self.operation, self.data, self.kernel)
            shape = (-1, *[1] * (self.data.ndim - 2))
        if self.bias is not None:
            sums += self.bias.reshape(shape)
        return sums * self.scales.reshape(shape)


def bias_codes(bias: NDArray[Any], scales: NDArray[Any]) -> NDArray[Any]:
    """The codes of a bias: the nearest multiples of the input's scale times that of each output channel's kernel.

    Args:
        bias: One number for each output channel.
        scales: The products of the scales.

    Returns:
        Whole numbers in float64, limited to those of int32.
    """
    import numpy as np

    return np.rint(bias.astype(np.float64) / scales).clip(-BIAS_LIMIT, BIAS_LIMIT)


def node_kernel(node: Node) -> str:
    """The name of the kernel of a convolution or linear layer."""
    return node.parameter_name("weight")
