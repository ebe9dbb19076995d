"""What nodes of TensorFlow's graphs state: layouts, windows, and the arrays that they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec_tensorflow.importing.graph_def import Constant, owner_name
from resnet_spec_tensorflow.importing.reader import Context

SUMS = ("BiasAdd", "AddV2", "Add")
SAME = ("Identity", "StopGradient")
FORMATS = {
    "NHWC": "channels_last",
    "NCHW": "channels_first",
    "NDHWC": "channels_last",
    "NCDHW": "channels_first",
}


def format_of(context: Context) -> str:
    """A node's layout in TensorFlow's words."""
    # Attributes that have their default value need not be there.
    return str(context.layer.attribute("data_format", "NDHWC" if "3D" in context.layer.kind else "NHWC"))


def spatial(data_format: str) -> slice:
    """The axes of a layout that are neither the batch nor the channels."""
    start = 1 if data_format.endswith("C") else 2
    return slice(start, start + len(data_format) - 2)


def window_of(context: Context, name: str) -> tuple[int, ...]:
    """The numbers for rows and columns, or for a volume's axes, of an attribute that lists all axes."""
    data_format = format_of(context)
    values = context.layer.attribute(name) or [1] * len(data_format)
    return tuple(map(int, values[spatial(data_format)]))


def padding_of(context: Context) -> Any:
    """A node's padding as a spec has it."""
    if context.padding is not None:
        return context.padding
    kind = context.layer.attribute("padding")
    if kind != "EXPLICIT":
        return "same" if kind == "SAME" else 0
    edges = context.layer.attribute("explicit_paddings")
    axes = range(len(edges) // 2)[spatial(format_of(context))]
    return tuple((int(edges[2 * axis]), int(edges[2 * axis + 1])) for axis in axes)


def own_array(array: Any) -> Any:
    """A copy of an array in float32."""
    return np.array(array, np.float32, order="C")


def layer_of(constant: Constant) -> str:
    """The name of the layer that an array belongs to."""
    return valid_name(owner_name(constant))
