"""Where one operation is written: the nodes it becomes, and names for them that nothing else has.

Small constants are nodes, so that a file's initializers are the graph's parameters and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from resnet_spec.graph import Node


@dataclass
class Place:
    """The nodes that one node of the graph becomes, in order.

    ``parameters`` gives the value that holds a parameter, by its name in the graph; ``dtype`` is the one computed in.
    ``readers`` are the operations that take the node's value; ``free_name`` makes a name that nothing else has.
    """

    node: Node
    readers: frozenset[str]
    dtype: np.dtype[Any]
    parameters: Mapping[str, str]
    free_name: Callable[[str], str]
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Write a node; the name of its value."""
        name = self.free_name(f"{self.node.name}.{op_type.lower()}")
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def parameter(self, slot: str) -> str:
        """The value that holds one of the layer's parameters."""
        return self.parameters[f"{self.node.layer}.{slot}"]

    def by_channel(self, slot: str) -> str:
        """A parameter (channels,) as (channels, 1, 1)."""
        return self("Reshape", self.parameter(slot), self.integers([-1, 1, 1]))

    def integers(self, values: Sequence[int]) -> str:
        """A constant vector, as what takes shapes and pads wants it."""
        return self._constant(np.array(values, np.int64))

    def reals(self, values: float | Sequence[float]) -> str:
        """A constant in the dtype computed in."""
        return self._constant(np.array(values, self.dtype))

    def _constant(self, array: Any) -> str:
        value: TensorProto = numpy_helper.from_array(array)
        return self("Constant", value=value)

    def finish(self, name: str) -> str:
        """Give the last node the name of the graph's, and its value this ``name``."""
        last = self.nodes[-1]
        last.name, last.output[0] = self.node.name, name
        return name
