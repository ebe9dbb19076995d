"""What nodes of TensorFlow's graphs state: layouts, windows, and the arrays that they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec_tensorflow.importing.graph_def import Constant, owner_name
from resnet_spec_tensorflow.importing.reader import Context

SUMS = ("BiasAdd", "AddV2", "Add")
SAME = ("Identity", "StopGradient")
FORMATS = {"NHWC": "channels_last", "NCHW": "channels_first"}
SPATIAL = {"NHWC": slice(1, 3), "NCHW": slice(2, 4)}


def format_of(context: Context) -> str:
    """A node's layout in TensorFlow's words."""
    return str(context.layer.attribute("data_format", "NHWC"))


def pair_of(context: Context, name: str) -> tuple[int, int]:
    """The rows and columns of an attribute that lists all axes."""
    values = context.layer.attribute(name) or [1, 1, 1, 1]
    first, second = values[SPATIAL[format_of(context)]]
    return int(first), int(second)


def padding_of(context: Context) -> Any:
    """A node's padding as a spec has it."""
    if context.padding is not None:
        return context.padding
    kind = context.layer.attribute("padding")
    if kind != "EXPLICIT":
        return "same" if kind == "SAME" else 0
    edges = context.layer.attribute("explicit_paddings")
    place = SPATIAL[format_of(context)].start
    return tuple((int(edges[2 * axis]), int(edges[2 * axis + 1])) for axis in (place, place + 1))


def own_array(array: Any) -> Any:
    """A copy of an array in float32."""
    return np.array(array, np.float32, order="C")


def layer_of(constant: Constant) -> str:
    """The name of the layer that an array belongs to."""
    return valid_name(owner_name(constant))
