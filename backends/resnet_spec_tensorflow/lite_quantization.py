"""An 8-bit network as TFLite's converter takes it: each grid as a range of fake quantization.

The converter computes an operation in int8 where its inputs and its value have such ranges. Its scale is the quotient
of the range and the number of steps in double precision, rounded to float32, so that ranges are chosen whose quotient
is the file's scale exactly.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import OutputError, Problem
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import AvgPool, Concat, Conv, ConvTranspose, Linear
from resnet_spec.optimization.rewriting import Uses
from resnet_spec.quantization import bias_codes, grids_of, is_selecting, kernel_codes
from resnet_spec.quantization.form import HIGH, KERNEL_HIGH, LOW
from resnet_spec.quantization.placement import FUSED, INTEGER
from resnet_spec_keras.compilation import apply, steps
from resnet_spec_keras.emitting.windows import mode_of
from resnet_spec_keras.parameters import get_arrays
from resnet_spec_keras.window_layers import MaskedAveragePooling
from resnet_spec_tensorflow.framework import tf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from resnet_spec.quantization import Quantization


class LiteFunction:
    """A function of TensorFlow from the input to the outputs, of which the converter makes an 8-bit network.

    Raises:
        OutputError: The converter would quantize what is to stay in float.
    """

    def __init__(self, model: Any, graph: Graph, quantization: Quantization) -> None:
        for node in graph.nodes:
            if isinstance(node.operation, ConvTranspose):
                message = "TFLite's converter would round this kernel, which the quantization keeps in float"
                raise OutputError([Problem(message, node.name)])
        self._model = model
        self._graph = graph
        self._quantization = quantization
        self._arrays = get_arrays(model, graph)
        self._grids = grids_of(graph, quantization)
        self._integer = integer_nodes(model, graph, quantization)

    def __call__(self, input: Any) -> list[Any]:
        """The outputs, in the graph's order."""
        values = {INPUT: self._on_grid(input, INPUT)}
        for node in self._graph.nodes:
            if node.name in values:
                continue
            inputs = [values[name] for name in node.inputs]
            result = self._integer.get(node.name)
            if result is None:
                values[node.name] = self._in_float(node, inputs)
            else:
                values[node.name] = values[result.name] = self._in_integers(node, result, inputs)
        return [values[name] for name in self._graph.outputs]

    def _on_grid(self, value: Any, name: str) -> Any:
        grid = self._quantization.values.get(name)
        if grid is None:
            return value
        low, high = limits(np.array(grid.scale), LOW - grid.zero_point, HIGH - grid.zero_point)
        return tf.quantization.fake_quant_with_min_max_args(value, float(low), float(high))

    def _in_float(self, node: Node, inputs: Sequence[Any]) -> Any:
        inputs = [_real(x) if name in self._grids else x for x, name in zip(inputs, node.inputs, strict=True)]
        value = apply(self._model, node, inputs, rounding=False)
        return self._on_grid(_real(value), node.name) if node.name in self._grids else value

    def _in_integers(self, node: Node, result: Node, inputs: Sequence[Any]) -> Any:
        if isinstance(node.operation, Conv | Linear):
            return self._layer(node, node.operation, result, inputs[0])
        if isinstance(node.operation, Concat):
            # TFLite joins values of one grid. The converter would not always round them to it.
            same = [self._grids[name] == self._grids[result.name] for name in node.inputs]
            inputs = [x if s else self._on_grid(_real(x), result.name) for x, s in zip(inputs, same, strict=True)]
        return self._rounded(apply(self._model, node, inputs, rounding=False), node, result)

    def _rounded(self, value: Any, node: Node, result: Node) -> Any:
        """A value on the grid of a node that is the value's own, or limits it."""
        limited = value if result is node else apply(self._model, result, [value], rounding=False)
        return self._on_grid(limited, result.name)

    def _layer(self, node: Node, operation: Conv | Linear, result: Node, value: Any) -> Any:
        """A layer's rounded value, by a convolution of maps.

        It may have both a stride and a dilation, as Keras' layers may not. The converter has no linear layer with a
        scale for each channel.
        """
        stride = dilation = ()
        mode, edges = "valid", None
        if isinstance(operation, Conv):
            stride, dilation, mode = operation.stride, operation.dilation, mode_of(operation)
            edges = operation.fixed_padding if mode is None else None
        axes = [*range(1, 3 - len(stride))]
        for axis in axes:
            value = tf.expand_dims(value, axis)
        if edges is not None:
            value = tf.pad(value, [(0, 0), *[(0, 0)] * len(axes), *edges, (0, 0)])
        ones = (1,) * len(axes)
        kernel, mode = self._kernel(node), (mode or "valid").upper()
        value = tf.nn.conv2d(value, kernel, ones + stride, mode, dilations=ones + dilation)
        value = self._rounded(value + self._bias(node) if operation.bias else value, node, result)
        return tf.squeeze(value, axes) if axes else value

    def _kernel(self, node: Node) -> Any:
        """The rounded kernel, (height, width, input channels, channels), with its range."""
        name = node.parameter_name("weight")
        scales = self._quantization.kernels[name]
        kernel = np.moveaxis(kernel_codes(self._arrays[name], scales), [0, 1], [-1, -2]) * np.array(scales)
        kernel = kernel.reshape(*[1] * (4 - kernel.ndim), *kernel.shape).astype(np.float32)
        ends = limits(np.array(scales), -KERNEL_HIGH, KERNEL_HIGH)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, *ends, narrow_range=True)

    def _bias(self, node: Node) -> NDArray[Any]:
        """The bias as the multiples of its scales that it is rounded to."""
        scales = np.array(self._quantization.kernels[node.parameter_name("weight")])
        scales = scales * self._grids[node.inputs[0]].scale
        return (bias_codes(self._arrays[node.parameter_name("bias")], scales) * scales).astype(np.float32)


def integer_nodes(model: Any, graph: Graph, quantization: Quantization) -> dict[str, Node]:
    """The nodes that TFLite computes in int8, since inputs, kernel and value are on grids; the rest stays in float.

    With each the node whose value it rounds: itself, or the ``relu`` that it is fused with.
    """
    grids, uses = grids_of(graph, quantization), Uses(graph)
    found: dict[str, Node] = {}
    for node in graph.nodes:
        operation, reader = node.operation, uses.only_reader(node)
        if any(name not in grids for name in node.inputs):
            continue
        result = reader if reader is not None and isinstance(reader.operation, FUSED) else node
        result = node if node.name in grids else result
        fits = result.name in grids
        if isinstance(operation, Conv | Linear):
            # TFLite has no convolution of volumes in int8.
            flat = operation.rank < 3 if isinstance(operation, Conv) else len(node.shape) == 1
            fits = fits and flat and node.parameter_name("weight") in quantization.kernels
        elif isinstance(operation, AvgPool):
            # TFLite's pool has one grid.
            masked = any(isinstance(step, MaskedAveragePooling) for step in steps(model, node))
            fits = grids[node.inputs[0]] == grids.get(node.name) and not masked
        elif not isinstance(operation, INTEGER):
            fits = (isinstance(operation, FUSED) and node.name in grids) or is_selecting(node)
            result = node
        if fits:
            found[node.name] = result
    return found


def _real(value: Any) -> Any:
    """Return a value unchanged, in a way that keeps the converter from quantizing what computes or reads it."""
    return tf.cast(tf.cast(value, tf.float64), tf.float32)


def limits(scales: NDArray[Any], low: int, high: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ends of ranges in float32 whose quotients by the number of steps are the scales, rounded to float32."""
    exact = scales.astype(np.float32).astype(np.float64)
    # The larger end first, not beyond its value, and the smaller one, whose steps are finer, from it.
    wanted = exact * max(-low, high)
    larger = wanted.astype(np.float32)
    larger = np.where(larger > wanted, np.nextafter(larger, np.float32(0)), larger)
    smaller = (exact * (high - low) - larger).astype(np.float32)
    return (-larger, smaller) if -low > high else (-smaller, larger)


def check_grids(content: bytes, graph: Graph, quantization: Quantization, path: Path) -> None:
    """Check that a TFLite model has the grid of every value of a graph.

    Raises:
        OutputError: The converter changed one; the message names the first node.
    """
    details = lite_interpreter(model_content=content).get_tensor_details()
    parameters = [detail["quantization_parameters"] for detail in details if detail["dtype"] is np.int8]
    found = {(float(p["scales"][0]), int(p["zero_points"][0])) for p in parameters if len(p["scales"]) == 1}
    for name, grid in quantization.values.items():
        if name != INPUT and name not in graph.by_name:
            continue
        if (float(np.float32(grid.scale)), grid.zero_point) not in found:
            raise OutputError(f"{path}: TFLite's converter does not keep the grid of {name}")


def lite_interpreter(**arguments: Any) -> Any:
    """Return TensorFlow's interpreter of TFLite models."""
    with warnings.catch_warnings():
        # It announces the package that it will move to.
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(**arguments)
