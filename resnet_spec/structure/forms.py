"""The normal form of each operation of a graph, and of a graph.

The sections are the modules of ``resnet_spec.operations``. An operation that does nothing in inference adds no step,
and one without an entry is a step as it is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from resnet_spec import operations as ops
from resnet_spec.backend.table import Table
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations.fields import Shape
from resnet_spec.operations.windows import explicit_padding
from resnet_spec.structure.activation_recognition import recognize_activations
from resnet_spec.structure.steps import (
    HARD_SIGMOID,
    POINT,
    NormalForm,
    Step,
    Tensor,
    Window,
    to_float32,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OperationView:
    """One node of a graph, its parameters, and the network to which its steps are added."""

    def __init__(self, network: NormalForm, graph: Graph, node: Node) -> None:
        self.network = network
        self.source = f"{node.name!r} ({node.operation.op})"
        slots = node.operation.parameters(*graph.input_shapes(node))
        self.tensors = {slot.name: Tensor((node.parameter_name(slot.name),)) for slot in slots}
        self.shape = node.shape


OPERATION_FORMS: Table[Callable[..., int]] = Table("normal form")
"""By the name of a graph's operation: (operation, its view, steps that it reads) to the step that computes it.

Operations without an entry are compared as they are stated, and not with files.
"""


def form_of_graph(graph: Graph, arrays: Mapping[str, NDArray[Any]] | None = None) -> NormalForm:
    """Return the network of a graph at its input size, with the graph's arrays if they are given."""
    network = NormalForm(graph.input.shape)
    steps = {INPUT: 0}
    for node in graph.nodes:
        view = OperationView(network, graph, node)
        form = OPERATION_FORMS.get(node.operation.op, as_stated)
        steps[node.name] = form(node.operation, view, *(steps[name] for name in node.inputs))
    for name, index in steps.items():
        network.has_value(index, name)
    network = recognize_activations(network.pruned(steps[name] for name in graph.outputs))
    if arrays is not None:
        network.steps = [replace(step, tensors=_filled(step, arrays)) for step in network.steps]
    return network


def _filled(step: Step, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {slot: Tensor(tensor.names, arrays[tensor.names[0]]) for slot, tensor in step.tensors.items()}


def as_stated(op: ops.AnyOperation, view: OperationView, *values: int) -> int:
    """Add an operation as a step of its own kind, with every field that inference depends on.

    Its width is in the shape, as that of every step is.
    """
    op = op.model_copy(update=dict(op.training_fields))
    fields = {name: value for name, value in op if name not in ("op", "channels", "features")}
    if isinstance(op, ops.StdConv) and op.padding == "same":
        sizes = view.network.steps[values[0]].shape[1:]
        fields["padding"] = explicit_padding(sizes, op.kernel, op.stride, op.padding, op.dilation)
    stated: dict[str, Any] = {
        name: to_float32(value) if isinstance(value, float) else value for name, value in fields.items()
    }
    return view.network.add(op.op, values, view.source, view.shape, view.tensors, **stated)


# -- activation ----------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("relu", "silu", "mish", "sigmoid", "hard_swish", "tanh", "softplus")
def _activation(op: ops.AnyOperation, view: OperationView, x: int) -> int:
    return view.network.add(op.op, (x,), view.source, nonnegative=op.nonnegative)


@OPERATION_FORMS.register("relu6")
def _relu6(op: ops.ReLU6, view: OperationView, x: int) -> int:
    return view.network.add("clip", (x,), view.source, nonnegative=True, minimum=0.0, maximum=6.0)


@OPERATION_FORMS.register("leaky_relu")
def _leaky_relu(op: ops.LeakyReLU, view: OperationView, x: int) -> int:
    return view.network.add("leaky_relu", (x,), view.source, slope=to_float32(op.slope))


@OPERATION_FORMS.register("prelu")
def _prelu(op: ops.PReLU, view: OperationView, x: int) -> int:
    return view.network.add("prelu", (x,), view.source, None, view.tensors)


@OPERATION_FORMS.register("elu")
def _elu(op: ops.ELU, view: OperationView, x: int) -> int:
    return view.network.add("elu", (x,), view.source, alpha=to_float32(op.alpha))


@OPERATION_FORMS.register("gelu")
def _gelu(op: ops.GELU, view: OperationView, x: int) -> int:
    return view.network.add("gelu", (x,), view.source, approximate=op.approximate)


@OPERATION_FORMS.register("hard_sigmoid")
def _hard_sigmoid(op: ops.HardSigmoid, view: OperationView, x: int) -> int:
    return view.network.add("hard_sigmoid", (x,), view.source, nonnegative=True, **HARD_SIGMOID)


@OPERATION_FORMS.register("softmax")
def _softmax(op: ops.Softmax, view: OperationView, x: int) -> int:
    return view.network.add("softmax", (x,), view.source, nonnegative=True, axis=op.axis)


# -- convolution ---------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("conv1d", "conv2d", "conv3d")
def _conv(op: ops.Conv, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, op.dilation)
    return view.network.convolution(x, view.source, window, op.channels, op.groups, view.tensors)


@OPERATION_FORMS.register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(op: ops.ConvTranspose, view: OperationView, x: int) -> int:
    window = op.kernel, op.stride, op.crop
    return view.network.transposed_convolution(x, view.source, view.shape, view.tensors, *window)


# -- joining -------------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("add", "multiply", "subtract", "maximum")
def _join(op: ops.AnyOperation, view: OperationView, *values: int) -> int:
    joined = reduce(lambda total, value: view.network.join(op.op, (total, value), view.source), values)
    if isinstance(op, ops.Multiply) and op.factor != 1:
        return view.network.factor(joined, view.source, op.factor)
    return joined


@OPERATION_FORMS.register("concat")
def _concat(op: ops.Concat, view: OperationView, *values: int) -> int:
    return view.network.concat(values, view.source, op.axis)


# -- learned -------------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("scale", "offset")
def _elementwise(op: ops.Scale | ops.Offset, view: OperationView, x: int) -> int:
    shape = view.network.steps[x].shape
    varying = {"scalar": (), "channels": _varying(shape[:1]), "map": _varying(shape)}[op.shape]
    return view.network.add(f"learned_{op.op}", (x,), view.source, None, view.tensors, along=varying)


@OPERATION_FORMS.register("parameter")
def _parameter(op: ops.LearnedValue, view: OperationView, x: int) -> int:
    return view.network.add("parameter", (0,), view.source, op.shape, view.tensors)


def _varying(shape: Shape) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(shape) if size != 1)


# -- linear --------------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("linear")
def _linear(op: ops.Linear, view: OperationView, x: int) -> int:
    if len(view.shape) > 1:
        return as_stated(op, view, x)
    return view.network.convolution(x, view.source, POINT, op.features, 1, view.tensors)


# -- normalization -------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("batch_norm")
def _batch_norm(op: ops.BatchNorm, view: OperationView, x: int) -> int:
    return view.network.add("batch_norm", (x,), view.source, None, view.tensors, epsilon=to_float32(op.epsilon))


@OPERATION_FORMS.register("group_norm")
def _group_norm(op: ops.GroupNorm, view: OperationView, x: int) -> int:
    return view.network.group_norm(x, view.source, op.groups, op.epsilon, view.tensors)


@OPERATION_FORMS.register("instance_norm")
def _instance_norm(op: ops.InstanceNorm, view: OperationView, x: int) -> int:
    if not view.tensors and view.network.is_rows(x):
        return view.network.normalized_rows(x, view.source, op.epsilon)
    return view.network.add("instance_norm", (x,), view.source, None, view.tensors, epsilon=to_float32(op.epsilon))


@OPERATION_FORMS.register("layer_norm")
def _layer_norm(op: ops.LayerNorm, view: OperationView, x: int) -> int:
    epsilon = to_float32(op.epsilon)
    return view.network.add("layer_norm", (x,), view.source, None, view.tensors, axis=op.axis, epsilon=epsilon)


@OPERATION_FORMS.register("l2_normalize")
def _l2_normalize(op: ops.L2Normalize, view: OperationView, x: int) -> int:
    norm = view.network.reduction("norm", x, view.source, [op.axis])
    minimum, maximum = to_float32(op.epsilon), float("inf")
    bounded = view.network.add("clip", (norm,), view.source, nonnegative=True, minimum=minimum, maximum=maximum)
    return view.network.join("divide", (x, bounded), view.source)


# -- pooling -------------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(op: ops.MaxPool, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, (1,) * op.rank, op.ceil_mode)
    return view.network.max_pool(x, view.source, window)


@OPERATION_FORMS.register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(op: ops.AvgPool, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, (1,) * op.rank, op.ceil_mode)
    return view.network.average_pool(x, view.source, window, count_include_pad=op.count_include_pad)


@OPERATION_FORMS.register("global_avg_pool")
def _global_avg_pool(op: ops.GlobalAvgPool, view: OperationView, x: int) -> int:
    return view.network.global_pool("global_average_pool", x, view.source)


@OPERATION_FORMS.register("global_max_pool")
def _global_max_pool(op: ops.GlobalMaxPool, view: OperationView, x: int) -> int:
    return view.network.global_pool("global_max_pool", x, view.source)


@OPERATION_FORMS.register("gem_pool")
def _gem_pool(op: ops.GeMPool, view: OperationView, x: int) -> int:
    minimum, maximum = to_float32(op.epsilon), float("inf")
    bounded = view.network.add("clip", (x,), view.source, nonnegative=True, minimum=minimum, maximum=maximum)
    powers = view.network.add("power", (bounded,), view.source, None, view.tensors, nonnegative=True)
    means = view.network.global_pool("global_average_pool", powers, view.source)
    return view.network.add("root", (means,), view.source, nonnegative=True)


# -- reduction -----------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("mean", "max", "sum")
def _reduction(op: ops.Mean | ops.Max | ops.Sum, view: OperationView, x: int) -> int:
    return view.network.reduction(op.op, x, view.source, op.axis)


# -- regularization ------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("dropout", "stochastic_depth")
def _identity(op: ops.Dropout | ops.StochasticDepth, view: OperationView, x: int) -> int:
    return x


# -- reshaping -----------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("pad1d", "pad2d", "pad3d")
def _pad(op: ops.Pad, view: OperationView, x: int) -> int:
    return view.network.pad(x, view.source, op.padding, (0, 0), op.mode, to_float32(op.value))


@OPERATION_FORMS.register("pad_channels")
def _pad_channels(op: ops.PadChannels, view: OperationView, x: int) -> int:
    return view.network.pad(x, view.source, ((0, 0), (0, 0)), (op.before, op.after), "constant", 0.0)


@OPERATION_FORMS.register("flatten", "reshape")
def _reshape(op: ops.Flatten | ops.Reshape, view: OperationView, x: int) -> int:
    return view.network.reshape(x, view.source, view.shape)


@OPERATION_FORMS.register("slice")
def _slice(op: ops.Slice, view: OperationView, x: int) -> int:
    start, stop = op.bounds(view.network.steps[x].shape[op.axis])
    return view.network.slice(x, view.source, op.axis, start, stop)


# -- resizing ------------------------------------------------------------------------------------------------------


@OPERATION_FORMS.register("resize")
def _resize(op: ops.Resize, view: OperationView, x: int, like: int | None = None) -> int:
    for axis in (1, 2):
        x = view.network.resize(x, view.source, axis, view.shape[axis], f"{op.mode} {op.coordinates}")
    return x
