"""A graph that uses every operation, and one layer twice; all backends' tests share it, and it needs no framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from resnet_spec.backend.protocol import Backend, DType
from resnet_spec.graph import INPUT, Graph
from resnet_spec.operations import Operation

SHAPE = (3, 21, 16)
NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}
GROUPED = {"groups": 2, "epsilon": 1e-5}

_OPERATION: TypeAdapter[Any] = TypeAdapter(Operation)
_STEPS: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("mirror", {"op": "pad2d", "padding": 1, "mode": "reflect"}, ()),
    ("conv", {"op": "conv2d", "channels": 4, "kernel": 3, "stride": 2, "padding": "same", "bias": True}, ()),
    ("norm", {"op": "batch_norm", **NORM}, ()),
    ("norm_again", {"op": "batch_norm", **NORM}, ()),
    ("relu", {"op": "relu"}, ()),
    (
        "std",
        {"op": "std_conv2d", "channels": 4, "kernel": 3, "padding": 1, "groups": 2, "epsilon": 1e-6, "gain": True},
        (),
    ),
    ("group", {"op": "group_norm", **GROUPED}, ()),
    ("layers", {"op": "layer_norm", "epsilon": 1e-5}, ()),
    ("rows", {"op": "layer_norm", "epsilon": 1e-5, "axis": 1}, ()),
    ("instance", {"op": "instance_norm", "epsilon": 1e-5}, ()),
    ("evo", {"op": "evo_norm_s0", **GROUPED}, ()),
    ("frn", {"op": "filter_response_norm", "epsilon": 1e-6, "threshold": True}, ()),
    ("relu6", {"op": "relu6"}, ("group",)),
    ("leaky", {"op": "leaky_relu", "slope": 0.1}, ("group",)),
    ("prelu", {"op": "prelu", "per_channel": True}, ("group",)),
    ("elu", {"op": "elu", "alpha": 0.7}, ()),
    ("silu", {"op": "silu"}, ()),
    ("gelu", {"op": "gelu", "approximate": True}, ()),
    ("mish", {"op": "mish"}, ()),
    ("hard", {"op": "hard_sigmoid"}, ()),
    ("swish", {"op": "hard_swish"}, ()),
    ("tanh", {"op": "tanh"}, ()),
    ("softplus", {"op": "softplus"}, ()),
    ("channels", {"op": "scale", "shape": "channels"}, ()),
    ("places_offset", {"op": "offset", "shape": "map"}, ()),
    ("number", {"op": "scale", "shape": "scalar", "initial": 0.0}, ()),
    ("token", {"op": "parameter", "shape": (4, 12, 9)}, ("number",)),
    ("with_token", {"op": "add"}, ("number", "token")),
    ("wide", {"op": "concat"}, ("relu", "leaky")),
    ("half", {"op": "slice", "part": 1, "parts": 2}, ()),
    ("apart", {"op": "subtract"}, ("half", "frn")),
    ("most", {"op": "maximum"}, ("apart", "group")),
    ("average", {"op": "mean", "axis": (0,)}, ()),
    ("highest", {"op": "max", "axis": (0,)}, ("most",)),
    ("soft", {"op": "softmax", "axis": 2}, ("most",)),
    ("total", {"op": "sum", "axis": (1, 2)}, ("most",)),
    ("attended", {"op": "add"}, ("soft", "average", "highest", "total")),
    ("larger", {"op": "resize", "mode": "bilinear", "coordinates": "align_corners", "scale": 2}, ()),
    ("back", {"op": "resize", "mode": "bilinear", "coordinates": "half_pixel", "like": True}, ("larger", "most")),
    ("sum", {"op": "add"}, ("frn", "relu", "norm", "relu6", "back", "with_token")),
    ("edge", {"op": "pad2d", "padding": 1}, ()),
    ("max", {"op": "max_pool2d", "kernel": 3, "stride": 2}, ()),
    ("avg", {"op": "avg_pool2d", "kernel": 2, "stride": 2, "padding": "same", "count_include_pad": False}, ()),
    ("wider", {"op": "pad_channels", "before": 1, "after": 1}, ()),
    ("up", {"op": "conv_transpose2d", "channels": 4, "kernel": 3, "stride": 2, "padding": ((1, 0), (0, 1))}, ()),
    ("places", {"op": "position_batch_norm", **NORM}, ()),
    ("depth", {"op": "stochastic_depth", "rate": 0.5}, ()),
    ("pool", {"op": "global_avg_pool"}, ()),
    ("line", {"op": "reshape", "shape": (1, 4)}, ()),
    ("ends", {"op": "pad1d", "padding": [[1, 2]], "value": 0.5}, ()),
    ("along", {"op": "conv1d", "channels": 4, "kernel": 3, "stride": 2, "padding": "same", "groups": 1}, ()),
    ("longest", {"op": "max_pool1d", "kernel": 3, "stride": 1, "padding": 1}, ()),
    ("smooth", {"op": "avg_pool1d", "kernel": 3, "stride": 2, "padding": [[0, 1]], "count_include_pad": False}, ()),
    ("stretched", {"op": "conv_transpose1d", "channels": 2, "kernel": 2, "stride": 2}, ()),
    ("volume", {"op": "reshape", "shape": (2, 2, 2, 1)}, ()),
    ("frame", {"op": "pad3d", "padding": 2}, ()),
    ("space", {"op": "conv3d", "channels": 4, "kernel": 3, "stride": [1, 2, 2], "padding": "same", "groups": 2}, ()),
    ("peaks", {"op": "max_pool3d", "kernel": 2, "stride": 1, "padding": 1}, ()),
    ("means", {"op": "avg_pool3d", "kernel": 2, "stride": 2, "padding": "same", "count_include_pad": False}, ()),
    ("grown", {"op": "conv_transpose3d", "channels": 2, "kernel": 3, "stride": [1, 2, 2], "padding": "same"}, ()),
    ("unrolled", {"op": "flatten"}, ()),
    ("narrow", {"op": "linear", "features": 4}, ()),
    ("column", {"op": "reshape", "shape": (4, 1, 1)}, ()),
    ("gate", {"op": "sigmoid"}, ()),
    ("scale", {"op": "multiply"}, ("depth", "gate")),
    ("unit", {"op": "l2_normalize", "epsilon": 1e-3}, ()),
    ("top", {"op": "global_max_pool"}, ()),
    ("general", {"op": "gem_pool", "epsilon": 1e-3}, ("unit",)),
    ("pooled", {"op": "add"}, ("top", "general")),
    ("table", {"op": "reshape", "shape": (2, 2)}, ("pooled",)),
    ("turned", {"op": "transpose", "axes": (1, 0)}, ()),
    ("along_rows", {"op": "linear", "features": 2}, ()),
    ("product", {"op": "matmul", "transpose_second": True, "factor": 0.5}, ("along_rows", "table")),
    ("flat", {"op": "flatten"}, ()),
    ("drop", {"op": "dropout", "rate": 0.5}, ()),
    ("fc", {"op": "linear", "features": 5}, ()),
    ("vector", {"op": "batch_norm", **NORM}, ()),
    ("softmax", {"op": "softmax"}, ()),
)
"""Name, operation and inputs of each node; without inputs it takes the one before."""

CALLS = {"norm_again": "norm"}


def _of_maps() -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """The steps without those of signals and volumes, but for one convolution."""
    names = [name for name, *_ in _STEPS]
    first, last = names.index("ends"), names.index("column")
    yield from _STEPS[:first]
    yield "along", {"op": "conv1d", "channels": 1, "kernel": 3, "padding": 1}, ()
    yield from _STEPS[last:]


def every_operation(*, of_maps: bool = False) -> Graph:
    """The graph, or with ``of_maps`` that of the operations on maps, rows and vectors.

    Each node's value differs from its inputs, except for what acts only in training.
    """
    shapes: dict[str, tuple[int, ...]] = {INPUT: SHAPE}
    nodes: list[dict[str, Any]] = []
    last = INPUT
    for name, fields, inputs in _of_maps() if of_maps else _STEPS:
        operation = _OPERATION.validate_python(fields)
        taken = inputs or (last,)
        shapes[name] = operation.output_shape(*(shapes[source] for source in taken))
        node = {"name": name, "operation": operation, "inputs": taken, "shape": shapes[name], "calls": CALLS.get(name)}
        nodes.append(node)
        last = name
    image = dict(zip(("channels", "height", "width"), SHAPE, strict=True))
    return Graph.model_validate({"name": "test/every_operation", "input": image, "nodes": nodes, "outputs": (last,)})


def arrays_for(graph: Graph, dtype: DType) -> dict[str, NDArray[Any]]:
    """Random values for every parameter, variances and scales around 1."""
    generator = np.random.default_rng(0)
    return {
        parameter.name: (
            generator.uniform(0.5, 1.5, parameter.shape)
            if parameter.role.startswith(("norm_", "pool_", "position_"))
            else generator.standard_normal(parameter.shape) / 3
        ).astype(dtype)
        for parameter in graph.parameters()
    }


def alone_and_within(backend: Backend, dtype: DType) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Each node's value by ``apply``, from its inputs' values in the whole model, and its own there."""
    graph = every_operation()
    whole = graph.with_outputs([node.name for node in graph.nodes])
    arrays = arrays_for(graph, dtype)
    images = np.random.default_rng(1).standard_normal((2, *SHAPE)).astype(dtype)
    model = backend.compile(whole, dtype=dtype)
    backend.load(model, whole, arrays)
    within = {INPUT: images} | dict(zip(whole.outputs, backend.forward(model, images), strict=True))
    # One output, as usual: a node may compile differently if it is an output.
    model = backend.compile(graph, dtype=dtype)
    backend.load(model, graph, arrays)
    return {
        node.name: (backend.apply(model, graph, node.name, [within[name] for name in node.inputs]), within[node.name])
        for node in graph.nodes
    }
