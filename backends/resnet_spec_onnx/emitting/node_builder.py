"""Adds the ONNX nodes that one node of the graph becomes, under unique names.

Small constants are nodes, so that a file's initializers are exactly the graph's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from resnet_spec.graph import Node
from resnet_spec.operations.fields import Shape


@dataclass
class NodeBuilder:
    """The ONNX nodes of one graph node, in order.

    ``input_shapes`` are those of the node's inputs, without the batch. ``consumers`` are the operations that read the
    node's value; ``dtype`` is the one that the model computes in.
    ``parameters`` maps a parameter's name in the graph to the value that holds it. ``free_name`` returns its argument,
    or the argument with a number if that name is taken.
    """

    node: Node
    input_shapes: tuple[Shape, ...]
    consumers: frozenset[str]
    dtype: np.dtype[Any]
    parameters: Mapping[str, str]
    free_name: Callable[[str], str]
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Append an ONNX node and return the name of its output."""
        name = self.free_name(f"{self.node.name}.{op_type.lower()}")
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def add_part(self, x: str, axis: int, parts: int, part: int) -> str:
        """Append nodes that divide a value into equal parts along an axis, and return the name of one part."""
        names = [self.free_name(f"{self.node.name}.split.{number}") for number in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, self.free_name(f"{self.node.name}.split"), axis=axis))
        return self.add("Identity", names[part])

    def finish(self, name: str) -> str:
        """Rename the last ONNX node to the graph node's name and its output to ``name``; return ``name``."""
        last = self.nodes[-1]
        last.name, last.output[0] = self.node.name, name
        return name

    # -- inputs --------------------------------------------------------------------------------------------------

    def parameter(self, slot: str) -> str:
        """Return the value that holds one of the layer's parameters: ``weight``, or nothing for the only one."""
        return self.parameters[self.node.parameter_name(slot)]

    def optional_bias(self, op: Any) -> tuple[str, ...]:
        """Return the bias as a tuple of inputs, which is empty if the operation has none."""
        return (self.parameter("bias"),) if op.bias else ()

    def per_channel(self, slot: str) -> str:
        """Return a (channels,) parameter reshaped to (channels, 1, ...), so that it broadcasts over all positions."""
        positions = len(self.node.shape) - 1
        if not positions:
            return self.parameter(slot)
        return self.add("Reshape", self.parameter(slot), self.integers([-1, *[1] * positions]))

    def integers(self, values: Sequence[int]) -> str:
        """Add an int64 vector, the type of shapes, axes and pads."""
        return self._constant(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """Add an int64 scalar."""
        return self._constant(np.array(value, np.int64))

    def floats(self, values: Sequence[float]) -> str:
        """Add a float32 vector, the type of scales whatever the model's is."""
        return self._constant(np.array(values, np.float32))

    def reals(self, values: float | Sequence[float]) -> str:
        """Add a scalar or vector of the model's dtype."""
        return self._constant(np.array(values, self.dtype))

    def _constant(self, array: Any) -> str:
        value: TensorProto = numpy_helper.from_array(array)
        return self.add("Constant", value=value)

    # -- statistics ----------------------------------------------------------------------------------------------

    def subtract_mean(self, x: str, axes: Sequence[int]) -> str:
        """Add ``x - mean(x, axes)``."""
        return self.add("Sub", x, self.add("ReduceMean", x, axes=axes, keepdims=1))

    def root_mean_square(self, x: str, axes: Sequence[int], epsilon: float) -> str:
        """Add ``sqrt(mean(x * x, axes, keepdims=True) + epsilon)``; of a centered ``x`` the standard deviation."""
        square = self.add("ReduceMean", self.add("Mul", x, x), axes=axes, keepdims=1)
        return self.add("Sqrt", self.add("Add", square, self.reals(epsilon)))
