"""The 8-bit form of a model: a pass from its ONNX nodes to the same ones between QuantizeLinear and DequantizeLinear.

A runtime computes a node in integers where its inputs come from DequantizeLinear and its value goes into QuantizeLinear
(QDQ). Every value on a grid passes through both, also after an operation that keeps the grid. Kernels are int8.

Values are uint8, their codes larger by 128: with int8 ONNX Runtime 1.31 turns only some of a network's values into
uint8 on x86 processors, and computes nodes that have values of both types in float. Biases are int32 with the scales of
the sums that they are added to. TensorRT accepts neither; it has no zero points, and if a file has none either, values
are int8 and biases float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from resnet_spec.errors import BackendError, OutputError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Conv, Linear
from resnet_spec.quantization import Grid, Quantization, bias_codes, grids_of, kernel_codes
from resnet_spec.quantization.form import LOW
from resnet_spec_onnx.compilation import build_skeleton, namer, nodes_by_graph_node
from resnet_spec_onnx.model import Arrays, OnnxModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.operations import Shape

QUANTIZATION = "resnet_spec.quantization"
"""Metadata of an 8-bit model: its ``Quantization`` as JSON."""

FLOAT32 = np.dtype(np.float32)


class Stored(NamedTuple):
    """A parameter as an 8-bit model stores it: as codes with a scale for each output channel, or without scales as is.

    A bias has as many forms as the inputs of the layer's calls have scales.
    """

    parameter: str
    shape: Shape
    is_kernel: bool
    scales: tuple[float, ...] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the initializer."""
        return FLOAT32 if self.scales is None else np.dtype(np.int8 if self.is_kernel else np.int32)

    def encode(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the initializer's data for the parameter's array."""
        if self.scales is None:
            return array
        if self.is_kernel:
            return kernel_codes(array, self.scales)
        return bias_codes(array, np.asarray(self.scales)).astype(self.dtype)


def compile_quantized(graph: Graph, quantization: Quantization, dtype: str) -> OnnxModel:
    """Return the 8-bit form of an optimized graph, its parameters not set yet; raises BackendError for float64."""
    if dtype != FLOAT32.name:
        raise BackendError(f"the onnx backend computes 8-bit networks in {FLOAT32}, not in {dtype}")
    initializers, _ = _stored(graph, quantization)

    def encode(arrays: Arrays) -> Arrays:
        return {name: stored.encode(arrays[stored.parameter]) for name, stored in initializers.items()}

    return OnnxModel(graph, partial(build_quantized, graph, quantization), FLOAT32, encode)


def build_quantized(
    graph: Graph, quantization: Quantization, *, half: bool = False, batch: int | None = None
) -> ModelProto:
    """Return the 8-bit form of ``build_skeleton``'s model; raises OutputError for ``half``."""
    if half:
        raise OutputError("an 8-bit network has no form in half precision; write it without half=True")
    skeleton = build_skeleton(graph, FLOAT32, batch=batch)
    initializers, reads = _stored(graph, quantization)
    nodes = _quantized_nodes(graph, skeleton, grids_of(graph, quantization), initializers, reads)
    skeleton.graph.ClearField("node")
    skeleton.graph.node.extend(nodes)
    skeleton.graph.ClearField("initializer")
    skeleton.graph.initializer.extend(
        TensorProto(name=name, dims=stored.shape, data_type=helper.np_dtype_to_tensor_dtype(stored.dtype))
        for name, stored in initializers.items()
    )
    skeleton.metadata_props.add(key=QUANTIZATION, value=quantization.to_json())
    return skeleton


def rounding(nodes: Sequence[NodeProto]) -> Sequence[NodeProto]:
    """Return the last of a graph node's ONNX nodes if they round its value to a grid: two constants and QDQ."""
    return nodes[-4:] if nodes and nodes[-1].op_type == "DequantizeLinear" else []


Reads: TypeAlias = dict[tuple[str, str], str]
"""The initializer that each node (by name) reads for each of its parameters."""


def _stored(graph: Graph, quantization: Quantization) -> tuple[dict[str, Stored], Reads]:
    """Return the initializers by name, and who reads which."""
    grids = grids_of(graph, quantization)
    biases = {} if _is_symmetric(grids) else grids
    calls: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        calls[node.layer].append(node)
    parameters = graph.parameters()
    free_name = namer({INPUT, *graph.result_names, *graph.by_name, *(parameter.name for parameter in parameters)})
    initializers: dict[str, Stored] = {}
    reads: Reads = {}
    for parameter in parameters:
        names: dict[Stored, str] = {}
        for node in calls[parameter.node]:
            scales = _scales(node, parameter.slot, biases.get(node.inputs[0]), quantization)
            stored = Stored(parameter.name, parameter.shape, parameter.slot == "weight", scales)
            if stored not in names:
                names[stored] = free_name(f"{node.name}.{parameter.slot}") if names else parameter.name
                initializers[names[stored]] = stored
            reads[node.name, parameter.name] = names[stored]
    return initializers, reads


def _is_symmetric(grids: Mapping[str, Grid]) -> bool:
    """Whether no value has a zero point, as TensorRT demands it."""
    return not any(grid.zero_point for grid in grids.values())


def _scales(node: Node, slot: str, grid: Grid | None, quantization: Quantization) -> tuple[float, ...] | None:
    """Return the scales of one of a layer's parameters, if it is stored as codes; ``grid`` is that of its input."""
    if not isinstance(node.operation, Conv | Linear):
        return None
    kernel = quantization.kernels.get(node.parameter_name("weight"))
    if kernel is None or slot == "weight":
        return kernel
    return None if grid is None else tuple(grid.scale * scale for scale in kernel)


def _quantized_nodes(
    graph: Graph, skeleton: ModelProto, grids: Mapping[str, Grid], initializers: Mapping[str, Stored], reads: Reads
) -> list[NodeProto]:
    """Return a float model's nodes with those that round values and read stored parameters between them."""
    groups = nodes_by_graph_node(skeleton, graph)
    taken = {name for proto in skeleton.graph.node for name in (proto.name, *proto.output)}
    free_name = namer({INPUT, *graph.result_names, *graph.by_name, *initializers, *taken})
    adder = _Adder(free_name, np.int8 if _is_symmetric(grids) else np.uint8)
    images = INPUT
    if INPUT in grids:
        images = free_name(f"{INPUT}.dequantizelinear")
        adder.add_rounding(INPUT, INPUT, images, grids[INPUT])
    for node in graph.nodes:
        group = groups[node.name]
        for proto in group:
            for place, name in enumerate(proto.input):
                if name == INPUT:
                    proto.input[place] = images
                elif (initializer := reads.get((node.name, name))) is not None:
                    proto.input[place] = adder.add_parameter(initializer, initializers[initializer])
            if proto is group[-1] and node.name in grids:
                adder.add_rounded(proto, node.name, grids[node.name])
            elif proto.op_type == "Pad" and isinstance(node.operation, Conv) and node.inputs[0] in grids:
                # So that the convolution, whose padding depends on the input's size, is computed in integers too.
                adder.add_rounded(proto, node.name, grids[node.inputs[0]])
            else:
                adder.nodes.append(proto)
    for proto in groups[""]:
        proto.input[:] = [images if name == INPUT else name for name in proto.input]
    return [*adder.nodes, *groups[""]]


@dataclass
class _Adder:
    """Adds nodes to a list, under free names; ``kind`` is the type of quantized values."""

    free_name: Callable[[str], str]
    kind: Any
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])

    def add_parameter(self, initializer: str, stored: Stored) -> str:
        """Add what reads a parameter, and return its value."""
        if stored.scales is None:
            return initializer
        scales = np.asarray(stored.scales, np.float32)
        inputs = [initializer, *self._constants(initializer, scales, np.zeros(scales.shape, stored.dtype))]
        value = self.free_name(f"{initializer}.{FLOAT32}")
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [value], value, axis=0))
        return value

    def add_rounded(self, proto: NodeProto, name: str, grid: Grid) -> None:
        """Add a node, and those that round its value: the last has its name, and the value's, as readers know it."""
        own, value = proto.name, proto.output[0]
        proto.name = proto.output[0] = self.free_name(f"{name}.{proto.op_type.lower()}")
        if proto.op_type == "Pad" and len(proto.input) == 2:
            # OpenVINO 2026.4 computes wrong numbers between QDQ if it pads zeros and there is a zero point. It does not
            # if it pads the smallest normal number, which is rounded to zero.
            proto.input.append(self._constant(f"{name}.zero", np.finfo(np.float32).tiny))
        self.nodes.append(proto)
        self.add_rounding(own, proto.output[0], value, grid)

    def add_rounding(self, name: str, value: str, rounded: str, grid: Grid) -> None:
        """Add the nodes that round a value to its grid, the last of them with this name."""
        zero_point = self.kind(grid.zero_point + np.iinfo(self.kind).min - LOW)
        inputs = self._constants(name, np.float32(grid.scale), zero_point)
        codes = self.free_name(f"{name}.quantizelinear")
        self.nodes.append(helper.make_node("QuantizeLinear", [value, *inputs], [codes], codes))
        self.nodes.append(helper.make_node("DequantizeLinear", [codes, *inputs], [rounded], name))

    def _constants(self, name: str, scale: Any, zero_point: Any) -> list[str]:
        return [self._constant(f"{name}.scale", scale), self._constant(f"{name}.zero_point", zero_point)]

    def _constant(self, wanted: str, array: Any) -> str:
        name = self.free_name(wanted)
        value = numpy_helper.from_array(np.asarray(array))
        self.nodes.append(helper.make_node("Constant", [], [name], name, value=value))
        return name
