"""Backends of NumPy alone: a comparison with them takes no seconds to import a framework.

Registered as a third party would, by entry points; see ``tests.third_party``. ``plain`` is right, the others are not.
"""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from resnet_spec.graph import INPUT, Graph, Node


class Plain:
    """Computes linear layers of means of maps, ReLU and additions, as they should be."""

    name = "plain"
    outputs: ClassVar[dict[str, str]] = {}
    inputs = ()
    running_variance = "biased"

    def environment(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def compile(self, graph: Graph, *, dtype: str = "float32", exact_statistics: bool = False) -> Any:
        return SimpleNamespace(graph=graph, dtype=dtype, arrays={})

    def load(self, model: Any, graph: Graph, arrays: Any) -> None:
        model.arrays = {name: np.array(array, model.dtype) for name, array in arrays.items()}

    def arrays(self, model: Any, graph: Graph) -> Any:
        return model.arrays

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        values = {INPUT: images}
        for node in model.graph.nodes:
            values[node.name] = self.apply(model, model.graph, node.name, [values[name] for name in node.inputs])
        return [values[name] for name in model.graph.outputs]

    def apply(self, model: Any, graph: Graph, name: str, inputs: Any) -> Any:
        node = graph.by_name[name]
        return self.node(node, model.arrays, list(inputs)).astype(model.dtype)

    def node(self, node: Node, arrays: Any, inputs: list[Any]) -> Any:
        match node.operation.op:
            case "linear":
                result = inputs[0] @ arrays[f"{node.layer}.weight"].T
                return result + arrays[f"{node.layer}.bias"] if f"{node.layer}.bias" in arrays else result
            case "relu":
                return inputs[0].clip(min=0)
            case "add":
                return sum(inputs[1:], inputs[0])
            case "global_avg_pool":
                return inputs[0].mean(axis=(2, 3), keepdims=True)
            case "flatten":
                return inputs[0].reshape(len(inputs[0]), -1)
            case op:
                raise NotImplementedError(op)


class Reordered(Plain):
    """Right, with the terms of each sum in another order, as another framework might add them."""

    name = "reordered"

    def node(self, node: Node, arrays: Any, inputs: list[Any]) -> Any:
        if node.operation.op != "linear":
            return super().node(node, arrays, inputs[::-1])
        terms = inputs[0][:, None, :] * arrays[f"{node.layer}.weight"]
        result = np.zeros(terms.shape[:2], terms.dtype)
        for index in reversed(range(terms.shape[2])):
            result = result + terms[:, :, index]
        return result + arrays[f"{node.layer}.bias"] if f"{node.layer}.bias" in arrays else result


class Shifted(Plain):
    """Adds a hundredth to the last layer, whatever that has computed."""

    name = "shifted"

    def node(self, node: Node, arrays: Any, inputs: list[Any]) -> Any:
        return super().node(node, arrays, inputs) + (0.01 if node.name == "fc" else 0)


class Leaky(Plain):
    """A leaky ReLU where a ReLU is meant."""

    name = "leaky"

    def node(self, node: Node, arrays: Any, inputs: list[Any]) -> Any:
        result = super().node(node, arrays, inputs)
        return result + 0.1 * inputs[0].clip(max=0) if node.operation.op == "relu" else result


class Infinite(Plain):
    """Infinite logits."""

    name = "infinite"

    def node(self, node: Node, arrays: Any, inputs: list[Any]) -> Any:
        result = super().node(node, arrays, inputs)
        return result + np.inf if node.name == "fc" else result


class Refusing(Plain):
    """Answers with an error where a network is named ``refused``, and dies where it is named ``deadly``."""

    name = "refusing"

    def compile(self, graph: Graph, **settings: Any) -> Any:
        if "refused" in graph.name:
            raise MemoryError
        if "deadly" in graph.name:
            # Bytes that are not UTF-8, as a C library may print them.
            os.write(2, b"caf\xe9 \xff\xfe\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compile(graph, **settings)


BACKENDS = {kind.name: f"numpy_backends:{kind.__name__}" for kind in (Plain, *Plain.__subclasses__())}
