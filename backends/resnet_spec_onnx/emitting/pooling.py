"""Pools as ONNX nodes."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import is_unpadded
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder
from resnet_spec_onnx.emitting.windows import (
    add_pad,
    add_padding,
    add_same_pads,
    is_same_upper,
    pads,
    pads_of_all_axes,
    window_attributes,
)


@EMITTERS.register("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(op: ops.MaxPool, builder: NodeBuilder, x: str) -> str:
    x, padding = add_padding(builder, op, x, float("-inf"))
    return builder.add("MaxPool", x, **window_attributes(op), **padding)


@EMITTERS.register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(op: ops.AvgPool, builder: NodeBuilder, x: str) -> str:
    edges = op.fixed_padding
    if edges is None and not is_same_upper(op):
        return _avg_pool_with_computed_pads(op, builder, x)
    if edges is not None and op.ceil_mode and op.count_include_pad and op.padding != "same":
        return _avg_pool_with_uncounted_rows(op, builder, x, op.padding, edges)
    x, padding = add_padding(builder, op, x, 0.0)
    attributes = {"count_include_pad": int(op.count_include_pad), **window_attributes(op), **padding}
    return builder.add("AveragePool", x, **attributes)


def _avg_pool_with_uncounted_rows(op: ops.AvgPool, builder: NodeBuilder, x: str, padding: Edges, edges: Edges) -> str:
    """Pad by a node, whose zeros count, and add as attributes the rows of ``ceil_mode``, which do not count."""
    x = x if is_unpadded(padding) else add_pad(builder, x, builder.integers(pads_of_all_axes(padding)))
    more = [a - b for a, b in zip(pads(edges), pads(padding), strict=True)]
    return builder.add("AveragePool", x, pads=more, **window_attributes(op))


def _avg_pool_with_computed_pads(op: ops.AvgPool, builder: NodeBuilder, x: str) -> str:
    """Pad by nodes; unless padding counts, divide by the average of a map of ones to undo its zeros."""
    edges = add_same_pads(builder, op, x)
    mean = builder.add("AveragePool", add_pad(builder, x, edges), **window_attributes(op))
    if op.count_include_pad:
        return mean
    one = numpy_helper.from_array(np.ones(1, builder.dtype))
    ones = builder.add("ConstantOfShape", builder.add("Shape", x), value=one)
    return builder.add("Div", mean, builder.add("AveragePool", add_pad(builder, ones, edges), **window_attributes(op)))


@EMITTERS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, builder: NodeBuilder, x: str) -> str:
    return builder.add("GlobalAveragePool", x)


@EMITTERS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, builder: NodeBuilder, x: str) -> str:
    return builder.add("GlobalMaxPool", x)


@EMITTERS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, builder: NodeBuilder, x: str) -> str:
    p = builder.parameter("p")
    powers = builder.add("Pow", builder.add("Max", x, builder.reals(op.epsilon)), p)
    return builder.add("Pow", builder.add("GlobalAveragePool", powers), builder.add("Reciprocal", p))
