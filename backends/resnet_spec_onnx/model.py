"""A model of this backend: an ONNX model without data, and the arrays that belong into it.

Apart, so that a file is written and ONNX Runtime is fed from the arrays themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec_onnx.compilation import assemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec_onnx.execution import Runner


class OnnxModel:
    """A graph as ONNX; ``skeleton`` is the model, its initializers in order and without data.

    ``weights`` are the initializers' arrays by name, empty until they are set.
    """

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self.skeleton = assemble(graph, self.dtype)
        self.weights: Mapping[str, NDArray[Any]] = {}
        self.runner: Runner | None = None
        """What runs the model, made when it is first asked for."""

    def set_weights(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set every parameter; an array's own memory is used where its type fits and it is writable."""
        names = (parameter.name for parameter in self.graph.parameters())
        self.weights = {name: _own(arrays[name], self.dtype) for name in names}
        self.runner = None

    def filled(self) -> Mapping[str, NDArray[Any]]:
        """The weights; raises BackendError where they are not set yet."""
        if len(self.weights) < len(self.graph.parameters()):
            raise BackendError("the ONNX model has no weights yet")
        return self.weights

    def to_proto(self) -> ModelProto:
        """The model with its weights, a copy; raises BackendError where they are not set yet."""
        proto = ModelProto()
        proto.CopyFrom(self.skeleton)
        weights = self.filled()
        for initializer in proto.graph.initializer:
            initializer.raw_data = little_endian(weights[initializer.name]).tobytes()
        return proto


def _own(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    fits = array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
    return array if fits else np.array(array, dtype, order="C")


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """The array as ONNX stores it; itself on most machines."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
