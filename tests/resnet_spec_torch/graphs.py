"""Graphs written by hand, so that these tests need neither the spec language nor its lowering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from resnet_spec.graph import Graph, parameter_name
from resnet_spec.operations import Operation
from resnet_spec_torch import TorchBackend, emitting

OPERATION = TypeAdapter[Any](Operation)
NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}


class Builder:
    """Adds nodes one by one and infers their shapes; by default a node takes the one before it.

    The input is (channels, height, width) or (features,).
    """

    def __init__(self, *shape: int) -> None:
        shape = shape or (3, 16, 16)
        names = ("channels", "height", "width") if len(shape) == 3 else ("features",)
        self.input = dict(zip(names, shape, strict=True))
        self.shapes: dict[str, Any] = {"input": shape}
        self.nodes: list[dict[str, Any]] = []

    def add(self, name: str, op: str, *inputs: str, calls: str | None = None, **fields: Any) -> Builder:
        inputs = inputs or (self.nodes[-1]["name"] if self.nodes else "input",)
        operation = OPERATION.validate_python({"op": op, **(NORM if op.endswith("batch_norm") else {}), **fields})
        self.shapes[name] = operation.output_shape(*(self.shapes[i] for i in inputs))
        node = {"name": name, "operation": operation, "inputs": inputs, "shape": self.shapes[name], "calls": calls}
        self.nodes.append(node)
        return self

    def graph(self, *outputs: str, **fields: Any) -> Graph:
        outputs = outputs or (self.nodes[-1]["name"],)
        return Graph.model_validate(
            {"name": "test/net", "input": self.input, "nodes": self.nodes, "outputs": outputs, **fields}
        )


def bottleneck(b: Builder, name: str, width: int, channels: int, stride: int = 1, project: bool = False) -> None:
    source = b.nodes[-1]["name"]
    b.add(f"{name}.conv1", "conv2d", channels=width, kernel=1)
    b.add(f"{name}.bn1", "batch_norm")
    b.add(f"{name}.relu1", "relu")
    b.add(f"{name}.conv2", "conv2d", channels=width, kernel=3, stride=stride, padding=1)
    b.add(f"{name}.bn2", "batch_norm")
    b.add(f"{name}.relu2", "relu")
    b.add(f"{name}.conv3", "conv2d", channels=channels, kernel=1)
    b.add(f"{name}.bn3", "batch_norm")
    if project:
        b.add(f"{name}.downsample.0", "conv2d", source, channels=channels, kernel=1, stride=stride)
        b.add(f"{name}.downsample.1", "batch_norm")
        source = f"{name}.downsample.1"
    b.add(f"{name}.add", "add", f"{name}.bn3", source)
    b.add(f"{name}.relu3", "relu")


def small_resnet(size: int = 32) -> Graph:
    """torchvision's layout with a handful of channels: two stages, the first of two bottlenecks."""
    b = Builder(3, size, size)
    b.add("conv1", "conv2d", channels=4, kernel=7, stride=2, padding=3)
    b.add("bn1", "batch_norm").add("relu", "relu")
    b.add("maxpool", "max_pool2d", kernel=3, stride=2, padding=1)
    bottleneck(b, "layer1.0", 4, 8, project=True)
    bottleneck(b, "layer1.1", 4, 8)
    bottleneck(b, "layer2.0", 4, 16, stride=2, project=True)
    b.add("avgpool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5)
    blocks = ("layer1.0", "layer1.1", "layer2.0")
    scopes = [
        {"name": name, "kind": "block", "block": "bottleneck", "output": f"{name}.relu3", "residual": True}
        for name in blocks
    ]
    stages = [
        {"name": s, "kind": "stage", "output": o}
        for s, o in (("layer1", "layer1.1.relu3"), ("layer2", "layer2.0.relu3"))
    ]
    return b.graph(scopes=scopes + stages)


def random_arrays(graph: Graph, seed: int = 0, dtype: str = "float32") -> dict[str, NDArray[Any]]:
    """Every parameter drawn so that activations neither vanish nor explode, and no variance is negative."""
    rng = np.random.default_rng(seed)
    return {
        p.name: (
            rng.uniform(0.5, 1.5, p.shape)
            if p.role.startswith(("norm_", "pool_", "position_"))
            else rng.standard_normal(p.shape) / np.sqrt(np.prod(p.shape[1:]) or 1)
        ).astype(dtype)
        for p in graph.parameters()
    }


def random_images(*shape: int, seed: int = 1) -> NDArray[Any]:
    """Signed images, (batch, channels, height, width)."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def build(graph: Graph, dtype: Any = "float32", *, exact_statistics: bool = False) -> nn.Module:
    """A model with random weights."""
    backend = TorchBackend()
    model = backend.compile(graph, dtype=dtype, exact_statistics=exact_statistics)
    backend.load(model, graph, random_arrays(graph, dtype=dtype))
    return model


def run(op: str, images: NDArray[Any], arrays: Mapping[str, NDArray[Any]] | None = None, **fields: Any) -> NDArray[Any]:
    """One operation's output in inference, its parameters as given."""
    graph = Builder(*images.shape[1:]).add("x", op, **fields).graph()
    backend = TorchBackend()
    model = backend.compile(graph, dtype=images.dtype.name)
    backend.load(model, graph, {parameter_name("x", name): array for name, array in (arrays or {}).items()})
    return backend.forward(model, images)[0]


def ramp(height: int, width: int) -> NDArray[Any]:
    """A map that holds row + column."""
    return (np.arange(height)[:, None] + np.arange(width)).astype(np.float32)[None, None]


def layer(op: str, shape: tuple[int, ...] = (8, 9, 9), **fields: Any) -> nn.Module:
    """One operation's layer, empty."""
    operation = OPERATION.validate_python({"op": op, **fields})
    return emitting.LAYERS[op](operation, shape, emitting.Options())
