"""The model of this backend: an ONNX model without data, and the arrays of its initializers.

Both are kept apart so that a file is written, and ONNX Runtime is fed, from the arrays themselves without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec_onnx.writing import little_endian

if TYPE_CHECKING:
    from numpy.typing import NDArray

Runner = Callable[[Mapping[str, "NDArray[Any]"]], "list[NDArray[Any]]"]
"""From inputs by name to the outputs."""


class OnnxModel:
    """A graph as ONNX: ``skeleton`` has every initializer's name, shape and type in order, and no data.

    ``weights`` maps initializers to arrays and is empty until they are set; ``runner`` is made at the first forward
    pass after that.
    """

    def __init__(self, graph: Graph, skeleton: ModelProto, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.skeleton = skeleton
        self.dtype = dtype
        self.weights: Mapping[str, NDArray[Any]] = {}
        self.runner: Runner | None = None

    def set_weights(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set every parameter; an array of the right type that is writable is used without a copy."""
        names = (parameter.name for parameter in self.graph.parameters())
        self.weights = {name: _own(arrays[name], self.dtype) for name in names}
        self.runner = None

    def loaded_weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the weights; raises BackendError if they are not set yet."""
        if len(self.weights) < len(self.graph.parameters()):
            raise BackendError("the ONNX model has no weights yet; load them first")
        return self.weights

    def to_proto(self) -> ModelProto:
        """Return a copy of the model with its weights; raises BackendError if they are not set yet."""
        proto = ModelProto()
        proto.CopyFrom(self.skeleton)
        weights = self.loaded_weights()
        for initializer in proto.graph.initializer:
            initializer.raw_data = little_endian(weights[initializer.name]).tobytes()
        return proto


def _own(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    fits = array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
    return array if fits else np.array(array, dtype, order="C")
