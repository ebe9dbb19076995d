"""Graphs written by hand, so that these tests need neither the spec language nor its lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from resnet_spec.graph import Graph
from resnet_spec.operations import Operation

_OPERATION = TypeAdapter(Operation)

NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}
NORMALIZED = {"batch_norm", "position_batch_norm"}


class _Builder:
    """Adds nodes one by one and infers their shapes; ``b("conv1", "conv2d", "input", channels=4, kernel=3)``."""

    def __init__(self, channels: int = 3, height: int = 16, width: int = 16, *, features: int | None = None) -> None:
        image = {"channels": channels, "height": height, "width": width}
        self.input = image if features is None else {"features": features}
        self.shapes = {"input": tuple(self.input.values())}
        self.nodes: list[dict[str, Any]] = []

    def __call__(self, name: str, op: str, *inputs: str, calls: str | None = None, **fields: Any) -> str:
        operation = _OPERATION.validate_python({"op": op, **(NORM if op in NORMALIZED else {}), **fields})
        shape = operation.output_shape(*(self.shapes[i] for i in inputs))
        self.shapes[name] = shape
        self.nodes.append({"name": name, "operation": operation, "inputs": inputs, "shape": shape, "calls": calls})
        return name

    def graph(self, *outputs: str, **fields: Any) -> Graph:
        outputs = outputs or (self.nodes[-1]["name"],)
        return Graph.model_validate(
            {"name": "test/net", "input": self.input, "nodes": self.nodes, "outputs": outputs, **fields}
        )


def _single(op: str, shape: tuple[int, ...] = (1, 4, 4), /, **fields: Any) -> Graph:
    """A graph of one node named ``x`` for an input of ``shape``."""
    build = _Builder(*shape) if len(shape) == 3 else _Builder(features=shape[0])
    build("x", op, "input", **fields)
    return build.graph()


def _small_resnet(groups: int = 1, **fields: Any) -> Graph:
    """A signed max-pool, a projected bottleneck with a squeeze-and-excitation gate, a head."""
    b = _Builder()
    b("conv1", "conv2d", "input", channels=8, kernel=3, stride=2, padding=1)
    b("maxpool", "max_pool2d", "conv1", kernel=3, stride=2, padding=1)
    b("bn1", "batch_norm", "maxpool")
    b("relu", "relu", "bn1")
    b("layer1.0.conv1", "conv2d", "relu", channels=8, kernel=3, padding=1, groups=groups)
    b("layer1.0.bn1", "batch_norm", "layer1.0.conv1")
    b("layer1.0.se.pool", "global_avg_pool", "layer1.0.bn1")
    b("layer1.0.se.fc", "conv2d", "layer1.0.se.pool", channels=8, kernel=1, bias=True)
    b("layer1.0.se.gate", "sigmoid", "layer1.0.se.fc")
    b("layer1.0.se.scale", "multiply", "layer1.0.bn1", "layer1.0.se.gate")
    b("layer1.0.downsample.0", "conv2d", "relu", channels=8, kernel=1)
    b("layer1.0.add", "add", "layer1.0.se.scale", "layer1.0.downsample.0")
    b("layer1.0.relu", "relu", "layer1.0.add")
    b("avgpool", "global_avg_pool", "layer1.0.relu")
    b("flatten", "flatten", "avgpool")
    b("fc", "linear", "flatten", features=5)
    return b.graph(**fields)


def _stock_net() -> Graph:
    """Operations for which Keras has layers and which small_resnet has not, for images of 21×16."""
    b = _Builder(3, 21, 16)
    b("mirror", "pad2d", "input", padding=1, mode="reflect")
    b("conv", "conv2d", "mirror", channels=4, kernel=3, stride=2)
    b("gn", "group_norm", "conv", groups=2, epsilon=1e-3)
    b("half", "slice", "gn", part=1, parts=2)
    b("top", "slice", "gn", stop=2)
    b("most", "maximum", "half", "top")
    b("less", "subtract", "most", "half")
    b("both", "concat", "most", "less")
    b("down", "avg_pool2d", "both", kernel=2, ceil_mode=True)
    b("max", "max_pool2d", "down", kernel=3, stride=2, ceil_mode=True)
    b("wider", "pad_channels", "max", before=1, after=1)
    b("up", "conv_transpose2d", "wider", channels=4, kernel=3, stride=2, padding=((1, 0), (0, 1)))
    b("smooth", "avg_pool2d", "up", kernel=3, stride=1, padding=1, count_include_pad=True)
    b("pbn", "position_batch_norm", "smooth")
    b("depth", "stochastic_depth", "pbn", rate=0.5)
    b("eca.pool", "global_avg_pool", "depth")
    b("eca.line", "reshape", "eca.pool", shape=(1, 4))
    b("eca.conv", "conv1d", "eca.line", channels=1, kernel=4, padding=2)
    b("eca.gate", "reshape", "eca.conv", shape=(5, 1, 1))
    b("max5", "global_max_pool", "eca.gate")
    b("flatten", "flatten", "max5")
    b("dropout", "dropout", "flatten", rate=0.5)
    return b.graph()


def _own_net() -> Graph:
    """Operations for which Keras has no layer."""
    b = _Builder()
    b("conv", "std_conv2d", "input", channels=4, kernel=3, stride=2, epsilon=1e-10)
    b("evo", "evo_norm_s0", "conv", groups=2, epsilon=1e-3)
    b("inside", "avg_pool2d", "evo", kernel=3, stride=2, padding=1, count_include_pad=False)
    b("same", "avg_pool2d", "inside", kernel=3, stride=2, padding="same", count_include_pad=True)
    b("frn", "filter_response_norm", "same", epsilon=1e-3, threshold=True)
    b("flatten", "flatten", "frn")
    return b.graph()


def _random_arrays(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter drawn so that none is zero and no variance negative."""
    rng = np.random.default_rng(seed)
    return {p.name: rng.uniform(0.5, 1.5, p.shape).astype(np.float32) for p in graph.parameters()}


def _images(*shape: int, seed: int = 1) -> np.ndarray:
    """Signed images, (batch, channels, height, width)."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Fixtures, since under pytest's importlib mode test modules cannot import this one.


@pytest.fixture(scope="session")
def builder() -> Any:
    return _Builder


@pytest.fixture(scope="session")
def single() -> Any:
    return _single


@pytest.fixture(scope="session")
def small_resnet() -> Any:
    return _small_resnet


@pytest.fixture(scope="session")
def stock_net() -> Any:
    return _stock_net


@pytest.fixture(scope="session")
def own_net() -> Any:
    return _own_net


@pytest.fixture(scope="session")
def random_arrays() -> Any:
    return _random_arrays


@pytest.fixture(scope="session")
def images() -> Any:
    return _images


@pytest.fixture(scope="session")
def backend() -> Any:
    from resnet_spec_tensorflow import TensorFlowBackend

    return TensorFlowBackend()


@pytest.fixture(scope="session")
def make(backend: Any) -> Any:
    """A model with its parameters set, to what is given and else at random."""

    def make_model(graph: Graph, arrays: Any = None, **options: Any) -> Any:
        model = backend.compile(graph, **options)
        backend.load(model, graph, {**_random_arrays(graph), **(arrays or {})})
        return model

    return make_model


@pytest.fixture(scope="session")
def run(backend: Any, make: Any) -> Any:
    """The first output of a graph for images."""

    def run_graph(graph: Graph, x: Any, arrays: Any = None, **options: Any) -> Any:
        return backend.forward(make(graph, arrays, **options), np.asarray(x))[0]

    return run_graph
