"""From ONNX operation to the form in which a file is compared with a graph: one short function each, in a table.

What only passes a value on, or lays it out otherwise, adds no step.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from resnet_spec.operations.fields import UNPADDED, Edges
from resnet_spec.operations.windows import same_padding
from resnet_spec_onnx.reading.constants import Constant
from resnet_spec_onnx.reading.contents import REALS
from resnet_spec_onnx.reading.network import Padding, Tensor, Window, single
from resnet_spec_onnx.reading.node_view import Call, Computed, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reader: TypeAlias = Callable[[Call], Value]

_Reader = TypeVar("_Reader", bound=Reader)

READERS: dict[str, Reader] = {}
"""Every operation that is read, by its name in ONNX."""


def reads(*op_types: str) -> Callable[[_Reader], _Reader]:
    """Enter a function into the table; raises ValueError where an operation has one already."""

    def enter(function: _Reader) -> _Reader:
        for op_type in op_types:
            if op_type in READERS:
                raise ValueError(f"{op_type} has two readers")
            READERS[op_type] = function
        return function

    return enter


# ---------------------------------------------------------------------------------------------------------------
# What computes nothing


@reads("Identity", "Dropout")
def _identity(call: Call) -> Value:
    return call.computed()


@reads("Cast", "CastLike")
def _cast(call: Call) -> Value:
    if call.node.op_type == "Cast" and call.integer("to") not in REALS:
        raise call.fail("makes whole numbers of a value")
    return call.computed()


@reads("Shape")
def _shape(call: Call) -> Value:
    sizes = call.sizes(call.computed())
    start, end = call.integer("start"), call.integer("end", len(sizes))
    return Constant(np.array(sizes[start:end], np.int64))


@reads("Transpose")
def _transpose(call: Call) -> Value:
    value = call.computed()
    order = call.integers("perm", range(len(value.axes))[::-1])
    if sorted(order) != [*range(len(value.axes))]:
        raise call.fail(f"has no order of {len(value.axes)} axes")
    return Computed(value.step, tuple(value.axes[axis] for axis in order))


@reads("Squeeze")
def _squeeze(call: Call) -> Value:
    value, sizes = call.computed(), call.sizes(call.computed())
    ones = [axis for axis, size in enumerate(sizes) if size == 1]
    axes = {call.axis(number, len(sizes)) for number in call.whole_numbers(1, "axes", ones) or ()}
    if not axes <= set(ones):
        raise call.fail(f"removes axes of {list(sizes)} that are not 1")
    return Computed(value.step, tuple(axis for place, axis in enumerate(value.axes) if place not in axes))


@reads("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    value = call.computed()
    numbers = call.whole_numbers(1, "axes") or ()
    rank = len(value.axes) + len(numbers)
    added = {call.axis(number, rank) for number in numbers}
    kept = iter(value.axes)
    return Computed(value.step, tuple(None if place in added else next(kept, None) for place in range(rank)))


@reads("Flatten")
def _flatten(call: Call) -> Value:
    sizes = call.sizes(call.computed())
    axis = call.axis(call.integer("axis", 1), len(sizes) + 1)
    return _reshaped(call, (prod(sizes[:axis]), prod(sizes[axis:])))


@reads("Reshape")
def _reshape(call: Call) -> Value:
    sizes = call.sizes(call.computed())
    target = call.whole_numbers(1, "shape") or ()
    call.expect(allowzero=0)
    wanted = [sizes[place] if size == 0 and place < len(sizes) else size for place, size in enumerate(target)]
    if wanted.count(-1) == 1:
        rest = -prod(wanted)
        wanted[wanted.index(-1)] = prod(sizes) // rest if rest > 0 else 0
    return _reshaped(call, tuple(wanted))


def _reshaped(call: Call, wanted: tuple[int, ...]) -> Value:
    """The same values in another shape: the same view where only axes of size 1 come and go, else a step."""
    value, sizes = call.computed(), call.sizes(call.computed())
    if prod(wanted) != prod(sizes) or min(wanted, default=0) < 1:
        raise call.fail(f"cannot make {list(wanted)} of {list(sizes)}")
    longer = [(axis, size) for axis, size in zip(value.axes, sizes, strict=True) if size != 1]
    if [size for _, size in longer] == [size for size in wanted if size != 1]:
        axes = iter(axis for axis, _ in longer)
        return Computed(value.step, tuple(next(axes) if size != 1 else None for size in wanted))
    if not wanted or wanted[0] != call.layout.batch or len(wanted) > 4:
        raise call.fail(f"makes {list(wanted)} of {list(sizes)}, which is no map or vector of the batch")
    step = call.map_or_vector(value, len(sizes))
    return call.result(call.network.reshape(step, call.source, wanted[1:]), len(wanted))


@reads("Expand")
def _expand(call: Call) -> Value:
    value, sizes = call.computed(), call.sizes(call.computed())
    step = call.map_or_vector(value, len(sizes))
    target = call.whole_numbers(1, "shape") or ()
    if len(target) != 4 or len(sizes) != 4 or any(old not in (1, new) for old, new in zip(sizes, target, strict=True)):
        raise call.fail(f"repeats {list(sizes)} to {list(target)}, which is not read")
    if tuple(target) == sizes:
        return value
    return call.result(call.network.add("expand", (step,), call.source, target[1:]))


# ---------------------------------------------------------------------------------------------------------------
# Convolutions and products


def _pair(call: Call, numbers: tuple[int, ...], rank: int) -> tuple[int, int]:
    """Numbers for height and width; one for a length."""
    if len(numbers) != rank or any(not 0 < number < 2**16 for number in numbers):
        raise call.fail(f"has {list(numbers)} for {rank} axes")
    return (numbers[0], numbers[1]) if rank == 2 else (numbers[0], 1)


def _padding(call: Call, step: int, window: Window, rank: int) -> Padding:
    """The edges that a window asks for, by numbers or by a rule."""
    rule = call.word("auto_pad", "NOTSET")
    if rule == "SAME_UPPER":
        return "same"
    if rule == "SAME_LOWER":
        sizes = zip(call.network.steps[step].shape[1:], window.kernel, window.stride, window.dilation, strict=True)
        rows, columns = (same_padding(*axis)[::-1] for axis in sizes)
        return (rows[0], rows[1]), (columns[0], columns[1])
    if rule == "VALID":
        return UNPADDED
    if rule != "NOTSET":
        raise call.fail(f"has auto_pad {rule!r}")
    return _edges(call, call.integers("pads", [0] * 2 * rank), rank)


def _edges(call: Call, pads: tuple[int, ...], rank: int) -> Edges:
    """ONNX's order, all beginnings before all ends, as ((top, bottom), (left, right))."""
    if len(pads) != 2 * rank or any(not 0 <= number < 2**16 for number in pads):
        raise call.fail(f"has pads {list(pads)}")
    if rank == 1:
        return (pads[0], pads[1]), (0, 0)
    return (pads[0], pads[2]), (pads[1], pads[3])


def _window(call: Call, step: int, kernel: tuple[int, ...]) -> Window:
    rank = len(kernel)
    bare = Window(
        _pair(call, kernel, rank),
        _pair(call, call.integers("strides", [1] * rank), rank),
        UNPADDED,
        _pair(call, call.integers("dilations", [1] * rank), rank),
        bool(call.integer("ceil_mode")),
    )
    return bare._replace(padding=_padding(call, step, bare, rank))


def _parameters(call: Call, weight: Constant, channels: int) -> dict[str, Tensor]:
    """A kernel, and a bias where there is one."""
    tensors = {"weight": call.tensor(weight)}
    if call.given(2):
        bias = call.constant(2)
        if bias.array.size != channels:
            raise call.fail(f"has a bias {list(bias.array.shape)} for {channels} channels")
        tensors["bias"] = call.tensor(bias, bias.array.reshape(channels))
    return tensors


def _kernel(call: Call, ranks: tuple[int, ...]) -> tuple[int, Constant]:
    """What a convolution reads, and its kernel."""
    weight = call.constant(1)
    shape = weight.array.shape
    if weight.array.ndim not in ranks or call.integers("kernel_shape", shape[2:]) != shape[2:] or 0 in shape:
        raise call.fail(f"has a kernel {list(shape)}")
    return call.map_or_vector(call.computed(), weight.array.ndim), weight


@reads("Conv")
def _conv(call: Call) -> Value:
    step, weight = _kernel(call, (3, 4))
    channels, inputs, *kernel = weight.array.shape
    groups = call.integer("group", 1)
    window = _window(call, step, tuple(kernel))
    if groups < 1 or inputs * groups != call.network.steps[step].shape[0]:
        held = call.network.steps[step].shape[0]
        raise call.fail(f"has a kernel for {inputs * groups} channels, and reads {held}")
    tensors = _parameters(call, weight, channels)
    return call.result(
        call.network.convolution(step, call.source, window, channels, groups, tensors), weight.array.ndim
    )


@reads("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    step, weight = _kernel(call, (4,))
    call.expect(group=1)
    inputs, channels, *kernel = weight.array.shape
    shape = call.network.steps[step].shape
    window = _window(call, step, tuple(kernel))
    more = call.integers("output_padding", [0, 0])
    if window.padding == "same" or window.dilation != (1, 1) or inputs != shape[0] or call.integers("output_shape"):
        raise call.fail("is a transposed convolution of a kind that is not read")
    if len(more) != 2 or any(not 0 <= number < 2**16 for number in more):
        raise call.fail(f"has output_padding {list(more)}")
    sizes = tuple(
        (size - 1) * stride + kernel - sum(edges) + extra
        for size, stride, kernel, edges, extra in zip(
            shape[1:], window.stride, window.kernel, window.padding, more, strict=True
        )
    )
    if min(sizes) < 1:
        raise call.fail("leaves nothing of its map")
    crops = tuple(before for before, _ in window.padding)
    step = call.network.add(
        "transposed convolution",
        (step,),
        call.source,
        (channels, *sizes),
        _parameters(call, weight, channels),
        kernel=window.kernel,
        stride=window.stride,
        crop=crops,
    )
    return call.result(step)


@reads("Gemm")
def _gemm(call: Call) -> Value:
    call.expect(alpha=1.0, beta=1.0, transA=0)
    return _product(call, transposed=bool(call.integer("transB")))


@reads("MatMul")
def _matmul(call: Call) -> Value:
    return _product(call, transposed=False)


def _product(call: Call, *, transposed: bool) -> Value:
    step, weight = call.map_or_vector(call.computed(), 2), call.constant(1)
    if weight.array.ndim != 2:
        raise call.fail(f"has a kernel {list(weight.array.shape)}")
    kernel = weight.array if transposed else weight.array.T
    if kernel.shape[1] != call.network.steps[step].shape[0]:
        raise call.fail(f"has a kernel for {kernel.shape[1]} features, and reads {call.network.steps[step].shape[0]}")
    channels = kernel.shape[0]
    tensors = _parameters(call, Constant(kernel, weight.names), channels)
    window = Window((1, 1), (1, 1), UNPADDED)
    return call.result(call.network.convolution(step, call.source, window, channels, 1, tensors), 2)


# ---------------------------------------------------------------------------------------------------------------
# Sums, products and normalizations


@reads("Add", "Sum")
def _add(call: Call) -> Value:
    return _binary(call, "add", "shift", negated=False)


@reads("Mul")
def _multiply(call: Call) -> Value:
    return _binary(call, "multiply", "scale", divided=False)


@reads("Sub")
def _subtract(call: Call) -> Value:
    return _affine(call, call.computed(0), call.constant(1), "shift", negated=True)


@reads("Div")
def _divide(call: Call) -> Value:
    return _affine(call, call.computed(0), call.constant(1), "scale", divided=True)


def _binary(call: Call, kind: str, affine: str, **fields: bool) -> Value:
    if len(call.inputs) != 2:
        raise call.fail(f"joins {len(call.inputs)} values, not two")
    for index in (0, 1):
        if not isinstance(call.inputs[index], Computed):
            return _affine(call, call.computed(1 - index), call.constant(index), affine, **fields)
    return _joined(call, kind)


def _joined(call: Call, kind: str) -> Value:
    """Two values whose axes mean the same; one of size 1 is repeated."""
    values = [call.computed(0), call.computed(1)]
    first, second = (call.sizes(value) for value in values)
    larger = max(first, second, key=prod)
    fits = len(first) == len(second) and all(size in (1, large) for size, large in zip(first, larger, strict=False))
    fits = fits and all(size in (1, large) for size, large in zip(second, larger, strict=False))
    if not fits or (kind == "add" and first != second):
        raise call.fail(f"joins {list(first)} and {list(second)}")
    places = list(zip(first, second, values[0].axes, values[1].axes, strict=True))
    if any(a != 1 and b != 1 and axis != other for a, b, axis, other in places):
        # One of them has been laid out anew.
        values = [call.result(call.map_or_vector(value, len(first)), len(first)) for value in values]
        places = list(zip(first, second, values[0].axes, values[1].axes, strict=True))
    axes = [axis if a != 1 or (b == 1 and axis is not None) else other for a, b, axis, other in places]
    return Computed(call.network.join(kind, [value.step for value in values], call.source), tuple(axes))


def _affine(call: Call, value: Computed, constant: Constant, kind: str, **fields: bool) -> Value:
    """A constant for each channel; one that changes nothing has no step."""
    array = _by_channel(call, value, constant)
    if constant.array.size == 1 and float(array.flat[0]) == (1.0 if kind == "scale" else 0.0):
        return value
    slot = "weight" if kind == "scale" else "bias"
    tensors = {slot: call.tensor(constant, array)}
    return Computed(call.network.add(kind, (value.step,), call.source, None, tensors, **fields), value.axes)


def _by_channel(call: Call, value: Computed, constant: Constant) -> NDArray[Any]:
    """A constant as a vector over the channels; raises where it varies along anything else."""
    array, sizes = constant.array, call.sizes(value)
    if array.dtype.kind != "f":
        raise call.fail(f"reads {array.dtype} where floating-point numbers are wanted")
    channels = call.network.steps[value.step].shape[0]
    varying = [place - array.ndim for place, size in enumerate(array.shape) if size != 1]
    if array.ndim > len(sizes) or array.size == 0:
        raise call.fail(f"reads a constant {list(array.shape)} beside {list(sizes)}")
    if varying and (len(varying) > 1 or value.axes[varying[0]] != 1 or array.size != channels):
        raise call.fail(f"reads a constant {list(array.shape)}, which is not one number for each channel")
    return np.broadcast_to(array.reshape(-1), (channels,))


@reads("BatchNormalization")
def _batch_normalization(call: Call) -> Value:
    call.expect(spatial=1)
    value = call.computed()
    step = call.map_or_vector(value, len(value.axes))
    channels = call.network.steps[step].shape[0]
    names = ("weight", "bias", "running_mean", "running_var")
    constants = [call.constant(index) for index in range(1, 5)]
    if any(constant.array.shape != (channels,) for constant in constants):
        raise call.fail(f"has no parameters for {channels} channels")
    tensors = {name: call.tensor(constant) for name, constant in zip(names, constants, strict=True)}
    epsilon = single(call.real("epsilon", 1e-5))
    return Computed(call.network.add("batch_norm", (step,), call.source, None, tensors, epsilon=epsilon), value.axes)


@reads("InstanceNormalization")
def _instance_normalization(call: Call) -> Value:
    """A group normalization as it is written: groups as channels, normalized, and laid out again by a reshape."""
    step = call.map_or_vector(call.computed(), 3)
    before = call.network.steps[step]
    neutral = all(np.all(call.constant(index).array == number) for index, number in ((1, 1), (2, 0)))
    if before.kind != "reshape" or not neutral:
        raise call.fail("is no group normalization")
    (map_,) = before.inputs
    epsilon = call.real("epsilon", 1e-5)
    step = call.network.normalization(map_, call.source, before.shape[0], epsilon)
    return call.result(call.network.reshape(step, call.source, before.shape), 3)


@reads("GroupNormalization")
def _group_normalization(call: Call) -> Value:
    value = call.computed()
    step = call.map_or_vector(value, len(value.axes))
    channels = call.network.steps[step].shape[0]
    weight, bias = call.constant(1), call.constant(2)
    if weight.array.shape != (channels,) or bias.array.shape != (channels,):
        raise call.fail(f"has no scale and offset for each of {channels} channels")
    step = call.network.normalization(step, call.source, call.integer("num_groups", 1), call.real("epsilon", 1e-5))
    step = call.network.add("scale", (step,), call.source, None, {"weight": call.tensor(weight)}, divided=False)
    step = call.network.add("shift", (step,), call.source, None, {"bias": call.tensor(bias)}, negated=False)
    return Computed(step, value.axes)


# ---------------------------------------------------------------------------------------------------------------
# Activations, pools and pads


@reads("Relu")
def _relu(call: Call) -> Value:
    return call.like(call.computed(), "relu", positive=True)


@reads("Sigmoid")
def _sigmoid(call: Call) -> Value:
    return call.like(call.computed(), "sigmoid", positive=True)


@reads("Softmax")
def _softmax(call: Call) -> Value:
    value = call.computed()
    call.map_or_vector(value, 2)
    if call.axis(call.integer("axis", 1 if call.opset < 13 else -1), 2) != 1:
        raise call.fail("is no softmax over the features")
    return call.like(value, "softmax", positive=True)


@reads("MaxPool")
def _max_pool(call: Call) -> Value:
    step, window = _pool(call)
    return call.result(call.network.max_pool(step, call.source, window))


@reads("AveragePool")
def _average_pool(call: Call) -> Value:
    step, window = _pool(call)
    counted = bool(call.integer("count_include_pad"))
    return call.result(call.network.average_pool(step, call.source, window, count_include_pad=counted))


def _pool(call: Call) -> tuple[int, Window]:
    step = call.map_or_vector(call.computed(), 4)
    kernel = call.integers("kernel_shape")
    if len(kernel) != 2:
        raise call.fail(f"has a window {list(kernel)}")
    window = _window(call, step, kernel)
    if any(d != 1 and k != 1 for d, k in zip(window.dilation, window.kernel, strict=True)):
        raise call.fail("is dilated")
    return step, window._replace(dilation=(1, 1))


@reads("GlobalAveragePool")
def _global_average_pool(call: Call) -> Value:
    step = call.map_or_vector(call.computed(), 4)
    return call.result(call.network.global_pool("global_average_pool", step, call.source))


@reads("GlobalMaxPool")
def _global_max_pool(call: Call) -> Value:
    step = call.map_or_vector(call.computed(), 4)
    return call.result(call.network.global_pool("global_max_pool", step, call.source))


@reads("ReduceMean")
def _reduce_mean(call: Call) -> Value:
    return _reduced(call, "global_average_pool")


@reads("ReduceMax")
def _reduce_max(call: Call) -> Value:
    return _reduced(call, "global_max_pool")


def _reduced(call: Call, kind: str) -> Value:
    """A mean or maximum over height and width, wherever those are."""
    value, sizes = call.computed(), call.sizes(call.computed())
    places = {call.axis(number, len(sizes)) for number in call.whole_numbers(1, "axes") or ()}
    positions = {place for place, axis in enumerate(value.axes) if axis in (2, 3)}
    if places != positions or len(positions) != 2:
        raise call.fail("reduces other axes than height and width")
    step = call.network.global_pool(kind, value.step, call.source)
    if call.integer("keepdims", 1):
        return Computed(step, value.axes)
    return Computed(step, tuple(axis for place, axis in enumerate(value.axes) if place not in places))


@reads("Pad")
def _pad(call: Call) -> Value:
    value = call.computed()
    rank = len(value.axes)
    pads = call.whole_numbers(1, "pads") or call.integers("paddings")
    axes = call.whole_numbers(3, "", range(rank)) or ()
    mode = call.word("mode", "constant")
    filling = float(call.constant(2).array.reshape(-1)[0]) if call.given(2) else call.real("value", 0.0)
    if len(pads) != 2 * len(axes) or len(value.axes) != 4 or mode not in ("constant", "reflect", "edge"):
        raise call.fail("is a pad of a kind that is not read")
    edges: dict[int, tuple[int, int]] = dict.fromkeys(range(4), (0, 0))
    for place, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        own = value.axes[call.axis(place, rank)]
        if not (0 <= before < 2**16 and 0 <= after < 2**16) or (own is None and (before or after)):
            raise call.fail(f"has pads {list(pads)}")
        edges[own if own is not None else 0] = before, after
    if edges[0] != (0, 0) or (mode != "constant" and edges[1] != (0, 0)):
        raise call.fail(f"has pads {list(pads)}")
    step = call.network.pad(value.step, call.source, (edges[2], edges[3]), edges[1], mode, filling)
    return Computed(step, value.axes)
