"""Backends that are wrong on purpose; the parity tests register them as a third party would, by entry points."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np

from resnet_spec import Graph
from resnet_spec.graph import Node
from resnet_spec_torch import TorchBackend

Change = Callable[[Node], dict[str, Any]]


def changed(graph: Graph, change: Change) -> Graph:
    """The graph with some operations' fields replaced; shapes follow."""
    nodes = [
        node.model_copy(update={"operation": node.operation.model_copy(update=change(node))}) for node in graph.nodes
    ]
    # Shapes first, since a stride that moves changes those in between.
    loose = Graph.model_construct(**{name: getattr(graph, name) for name in Graph.model_fields} | {"nodes": nodes})
    if graph.input.features is not None:
        return loose
    return loose.at_size(graph.input.height, graph.input.width)


class _Wrong(TorchBackend):
    def change(self, node: Node) -> dict[str, Any]:
        raise NotImplementedError

    def compile(self, graph: Graph, **settings: Any) -> Any:
        self.changed = changed(graph, self.change)
        return super().compile(self.changed, **settings)

    def apply(self, model: Any, graph: Graph, name: str, inputs: Any) -> Any:
        return super().apply(model, self.changed, name, inputs)


class Right(_Wrong):
    name = "right"

    def change(self, node: Node) -> dict[str, Any]:
        return {}


class Epsilon(_Wrong):
    """Keras' default epsilon where PyTorch's is meant."""

    name = "epsilon"

    def change(self, node: Node) -> dict[str, Any]:
        return {"epsilon": 1e-3} if node.operation.op == "batch_norm" else {}


class OneEpsilon(_Wrong):
    """keras.applications' epsilon in a single normalization, which only float64 can see."""

    name = "one_epsilon"

    def change(self, node: Node) -> dict[str, Any]:
        return {"epsilon": 1.001e-5} if node.name == "layer3.0.bn2" else {}


class Stride(_Wrong):
    """The stride in a block's first 1×1 instead of its 3×3."""

    name = "stride"

    def change(self, node: Node) -> dict[str, Any]:
        block, _, layer = node.name.rpartition(".")
        if block in ("layer2.0", "layer3.0", "layer4.0") and layer in ("conv1", "conv2"):
            return {"stride": (2, 2) if layer == "conv1" else (1, 1)}
        return {}


class Padding(_Wrong):
    """What TensorFlow's ``same`` adds at an even size: on the bottom and the right alone."""

    name = "padding"

    def change(self, node: Node) -> dict[str, Any]:
        if node.name == "conv1":
            return {"padding": ((2, 3), (2, 3))}
        return {"padding": ((0, 1), (0, 1))} if node.name == "maxpool" else {}


class Unpadded(_Wrong):
    """No padding around the pool, whose map comes out smaller."""

    name = "unpadded"

    def change(self, node: Node) -> dict[str, Any]:
        return {"padding": ((0, 0), (0, 0))} if node.name == "maxpool" else {}


class Killed(_Wrong):
    name = "killed"

    def change(self, node: Node) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class Failing(_Wrong):
    name = "failing"

    def change(self, node: Node) -> dict[str, Any]:
        raise MemoryError


class KilledLater(Right):
    """Killed in the middle of a walk over the nodes."""

    name = "killed_later"

    def apply(self, model: Any, graph: Graph, name: str, inputs: Any) -> Any:
        if name == "layer2.0.conv1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().apply(model, graph, name, inputs)


class FailingLater(Right):
    """Out of memory in the middle of a walk over the nodes."""

    name = "failing_later"

    def apply(self, model: Any, graph: Graph, name: str, inputs: Any) -> Any:
        if name == "layer2.0.conv1":
            raise MemoryError
        return super().apply(model, graph, name, inputs)


class Noisy(Right):
    """Prints to standard output, which is the worker's line to its parent."""

    name = "noisy"

    def change(self, node: Node) -> dict[str, Any]:
        os.write(1, b"hello\n")
        print("hello")
        return {}


class Coarse(Right):
    """Weights in TF32, ten bits of each, where float32 was asked for, which float64 cannot see."""

    name = "coarse"

    def load(self, model: Any, graph: Graph, arrays: Any) -> None:
        super().load(model, graph, {name: _cut(array) for name, array in arrays.items()})


def _cut(array: Any) -> Any:
    return (array.view(np.uint32) & 0xFFFFE000).view(np.float32) if array.dtype == np.float32 else array


class Nan(Right):
    """Every logit is NaN, which no comparison may take for agreement."""

    name = "nan"

    def forward(self, model: Any, images: Any, *, training: bool = False) -> Any:
        return [output * float("nan") for output in super().forward(model, images, training=training)]
