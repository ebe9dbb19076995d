"""TensorFlow Lite whose 8-bit files have mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema  # pyright: ignore

from resnet_spec.graph import Graph
from tests.lab.integer_backends import LiteBackend
from tests.lab.mutated_integers import MutatedIntegers
from tests.lab.quantized_mutations import CONV


class File:
    """A TFLite file to be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        (self.graph,) = self.model.subgraphs

    def save(self) -> None:
        """Write it again."""
        builder = flatbuffers.Builder(0)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        self.path.write_bytes(bytes(builder.Output()))

    def layer(self, grid: Any) -> Any:
        """The convolution whose value has a grid."""
        return next(op for op in self.graph.operators if self._is_on(op, grid))

    def _is_on(self, operator: Any, grid: Any) -> bool:
        own = self.graph.tensors[operator.outputs[0]].quantization
        given = self.model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
        return (
            given
            and own is not None
            and own.scale is not None
            and len(own.scale) == 1
            and np.float32(own.scale[0]) == np.float32(grid.scale)
            and int(own.zeroPoint[0]) == grid.zero_point
        )

    def buffer(self, tensor: int, kind: Any, change: Any) -> None:
        """Change what a constant holds."""
        held = self.model.buffers[self.graph.tensors[tensor].buffer]
        array = np.frombuffer(np.asarray(held.data, np.uint8).tobytes(), kind).reshape(self.graph.tensors[tensor].shape)
        held.data = np.frombuffer(np.ascontiguousarray(change(array.copy())).tobytes(), np.uint8)


OF_FILES_WRITTEN = (
    "swapped_scales", "scaled_channel", "swapped_kernels", "mirrored", "turned_bias", "file_zero", "no_relu",
    "no_effect",
)  # fmt: skip


def _swapped(array: Any) -> Any:
    return array[[1, 0, *range(2, len(array))]]


def changed(path: Path, change: str, grids: Any) -> None:
    """Make one mistake."""
    file = File(path)
    name = {"no_relu": "layer1.0.relu1", "no_effect": "layer1.1.relu1"}.get(change, CONV)
    layer = file.layer(grids[name])
    _, kernel, bias = layer.inputs
    scales = file.graph.tensors[kernel].quantization
    match change:
        case "swapped_scales":
            scales.scale = _swapped(np.asarray(scales.scale))
        case "scaled_channel":
            scales.scale = np.asarray(scales.scale) * np.where(np.arange(len(scales.scale)) == 2, 1.05, 1)
        case "swapped_kernels":
            file.buffer(kernel, np.int8, _swapped)
        case "mirrored":
            file.buffer(kernel, np.int8, lambda array: array[:, :, ::-1])
        case "turned_bias":
            file.buffer(bias, np.int32, lambda array: np.roll(array, 1))
        case "file_zero":
            own = file.graph.tensors[layer.outputs[0]].quantization
            own.zeroPoint = np.asarray(own.zeroPoint) + 1
        case "no_relu" | "no_effect":
            layer.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        case _:
            return
    file.save()


class Mutated(MutatedIntegers, LiteBackend):
    name = "integer_tflite"

    def write(self, model: Any, graph: Graph, path: Path, **options: Any) -> None:
        super().write(model, graph, path, **options)
        if self.mutation is not None and self.mutation.change in OF_FILES_WRITTEN:
            changed(path, self.mutation.change, self.given.values)
