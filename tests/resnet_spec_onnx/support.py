"""Runs one operation or one graph as ONNX: float32 in ONNX Runtime, float64 in ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from resnet_spec.graph import Graph, parameter_name
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.model import OnnxModel
from resnet_spec_onnx.writing import check
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, random_arrays

DTYPES = ("float32", "float64")
TOLERANCES = {"float32": 2e-5, "float64": 1e-10}
"""The largest allowed difference of one operation, for values of about 1."""

MAPS = (2, 4, 7, 8), (1, 4, 8, 5), (3, 4, 9, 9)
"""Shapes of inputs of four channels, with even and odd heights and widths."""


def model_of(graph: Graph, arrays: Mapping[str, NDArray[Any]], dtype: str = "float32") -> OnnxModel:
    """A model that ONNX's checker accepts, with these arrays."""
    backend = OnnxBackend()
    model = backend.compile(graph, dtype=dtype)  # pyright: ignore[reportArgumentType]
    check(model.skeleton)
    backend.load(model, graph, arrays)
    return model


def run(op: str, images: NDArray[Any], arrays: Mapping[str, NDArray[Any]] | None = None, **fields: Any) -> NDArray[Any]:
    """One operation's output, its parameters as given, in the images' dtype."""
    graph = Builder(*images.shape[1:]).add("x", op, **fields).graph()
    model = model_of(
        graph, {parameter_name("x", name): array for name, array in (arrays or {}).items()}, images.dtype.name
    )
    return OnnxBackend().forward(model, images)[0]


def nodes(op: str, shape: tuple[int, ...], **fields: Any) -> list[NodeProto]:
    """The nodes of one operation, without constants."""
    graph = Builder(*shape).add("x", op, **fields).graph()
    return [node for node in OnnxBackend().compile(graph).skeleton.graph.node if node.op_type != "Constant"]


def assert_as_torch(graph: Graph, *shapes: tuple[int, ...], seed: int = 0) -> None:
    """Compare a graph in both dtypes, for inputs of each shape, with the torch backend's float64."""
    arrays = random_arrays(graph, seed, "float64")
    torch = TorchBackend()
    reference = torch.compile(graph, dtype="float64")
    torch.load(reference, graph, arrays)
    for dtype in DTYPES:
        model = model_of(graph, arrays, dtype)
        for shape in shapes:
            images = np.random.default_rng(seed + 1).standard_normal(shape)
            wanted = torch.forward(reference, images)
            results = OnnxBackend().forward(model, images)
            assert len(results) == len(wanted)
            for result, exact in zip(results, wanted, strict=True):
                assert result.dtype == dtype
                assert result.shape == exact.shape, f"{dtype} at {shape}"
                error = np.abs(result - exact).max() / max(1.0, float(np.abs(exact).max()))
                assert error < TOLERANCES[dtype], f"{dtype} at {shape}: {error:.1e}"


def single(op: str, *shape: int, **fields: Any) -> Graph:
    """A graph of one node named ``x``."""
    return Builder(*shape).add("x", op, **fields).graph()
