"""The model of this backend: an ONNX model without data, and the arrays of its initializers.

Both are kept apart so that a file is written, and ONNX Runtime is fed, from the arrays themselves without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import ModelProto

from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec_onnx.writing import little_endian

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "Mapping[str, NDArray[Any]]"

Runner: TypeAlias = "Callable[[Arrays], list[NDArray[Any]]]"
"""From inputs by name to the outputs."""


def _as_they_are(arrays: Arrays) -> Arrays:
    return arrays


class OnnxModel:
    """A graph as ONNX: ``skeleton`` has every initializer's name, shape and type in order, and no data.

    ``build`` makes the skeleton, also of other forms, which are its options; ``encode`` makes the initializers' arrays
    of the graph's. ``weights`` are the latter and ``initializers`` the former, both empty until they are set;
    ``runner`` is made at the first forward pass after that.
    """

    def __init__(
        self,
        graph: Graph,
        build: Callable[..., ModelProto],
        dtype: np.dtype[Any],
        encode: Callable[[Arrays], Arrays] = _as_they_are,
    ) -> None:
        self.graph = graph
        self.build = build
        self.skeleton = build()
        self.dtype = dtype
        self.encode = encode
        self.weights: Arrays = {}
        self.initializers: Arrays = {}
        self.runner: Runner | None = None

    def set_weights(self, arrays: Arrays) -> None:
        """Set every parameter; an array of the right type that is writable is used without a copy."""
        names = (parameter.name for parameter in self.graph.parameters())
        self.weights = {name: _own(arrays[name], self.dtype) for name in names}
        self.initializers = self.encode(self.weights)
        self.runner = None

    def loaded_weights(self) -> Arrays:
        """Return the graph's arrays; raises BackendError if they are not set yet."""
        if len(self.weights) < len(self.graph.parameters()):
            raise BackendError("the ONNX model has no weights yet; load them first")
        return self.weights

    def loaded_initializers(self) -> Arrays:
        """Return the initializers' arrays; raises BackendError if the weights are not set yet."""
        self.loaded_weights()
        return self.initializers

    def to_proto(self) -> ModelProto:
        """Return a copy of the model with its weights; raises BackendError if they are not set yet."""
        proto = ModelProto()
        proto.CopyFrom(self.skeleton)
        arrays = self.loaded_initializers()
        for initializer in proto.graph.initializer:
            initializer.raw_data = little_endian(arrays[initializer.name]).tobytes()
        return proto


def _own(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    fits = array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
    return array if fits else np.array(array, dtype, order="C")
