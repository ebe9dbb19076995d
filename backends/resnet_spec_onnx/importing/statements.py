"""A step of a file as an operation of the spec language: one function for each kind of step, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.operations.convolution import usual_gamma
from resnet_spec.operations.resizing import LARGEST_SCALE
from resnet_spec.operations.windows import explicit_crop, fixed_ceil_padding, is_unpadded
from resnet_spec.structure.steps import HARD_SIGMOID, Tensor, Window
from resnet_spec_onnx.importing.step_view import STATEMENTS, Statement, StepView, UnstatedError, decimal

if TYPE_CHECKING:
    from numpy.typing import NDArray


# ---------------------------------------------------------------------------------------------------------------
# Convolutions and linear layers


@STATEMENTS.register("convolution")
def _convolution(view: StepView) -> Statement:
    weight: Any = view.step.tensors["weight"].array
    window = _window(view)
    channels, bias = weight.shape[0], "bias" in view.step.tensors
    if weight.ndim == 2:
        return Statement("linear", {"features": channels, "bias": bias}, rank=1)
    rank: int = weight.ndim - 2
    window = _with_axes(window, rank)
    fields = _window_fields(window) | {"channels": channels, "bias": bias, "groups": view.fields["groups"]}
    return Statement(f"conv{rank}d", fields | {"dilation": window.dilation}, rank=rank + 1)


@STATEMENTS.register("standardized_convolution")
def _standardized(view: StepView) -> Statement:
    statement = _convolution(view)
    if statement.op != "conv2d":
        raise UnstatedError("is a standardized convolution that is not 2-d")
    gain = "gain" in view.step.tensors
    # A file has the product of gamma and another number, in float32.
    found = float(view.fields["gamma"])
    gamma = usual_gamma(found, 1e-6) or round(found, 6)
    fields = {"epsilon": decimal(view.fields["epsilon"]), "gain": gain, "gamma": gamma}
    return Statement("std_conv2d", {**statement.fields, **fields}, rank=3)


def _window(view: StepView) -> Window:
    windows: set[Window] = {*view.each("window")}
    if len(windows) > 1:
        raise UnstatedError("has a padding that depends on the input's size in another way than 'same'")
    return windows.pop()


def _with_axes(window: Window, rank: int) -> Window:
    """The window of as many axes: those that a normal form has beyond them are of one position."""
    padding = window.padding if window.padding == "same" else window.padding[:rank]
    return Window(window.kernel[:rank], window.stride[:rank], padding, window.dilation[:rank], window.ceil_mode)


def _positions(view: StepView, extends: Sequence[bool]) -> int:
    """The axes of positions of a map and a window, of which ``extends`` has whether it extends along each."""
    last = max((axis for axis, own in enumerate(extends, start=1) if own), default=1)
    return max(last, len(view.shapes[0]) - 1)


def _pool_window(view: StepView) -> Window:
    window = _window(view)
    edges = ((0, 0),) * len(window.kernel) if window.padding == "same" else window.padding
    extends = [k > 1 or s > 1 or any(edge) for k, s, edge in zip(window.kernel, window.stride, edges, strict=True)]
    return _with_axes(window, _positions(view, extends))


def _window_fields(window: Window) -> dict[str, Any]:
    return {"kernel": window.kernel, "stride": window.stride, "padding": window.padding}


@STATEMENTS.register("transposed_convolution")
def _transposed(view: StepView) -> Statement:
    weight: Any = view.step.tensors["weight"].array
    kernel, stride, before = (view.fields[name] for name in ("kernel", "stride", "crop"))
    rank = len(kernel)
    # A normal form has axes of size 1 beyond those of a signal.
    maps = (shape[1 : rank + 1] for shape in (view.inputs_at()[0], view.step.shape))
    sizes = zip(*maps, kernel, stride, before, strict=True)
    crop = tuple((start, (size - 1) * s + k - start - after) for size, after, k, s, start in sizes)
    if min(end for _, end in crop) < 0:
        if crop != explicit_crop(kernel, stride, "same"):
            raise UnstatedError("is a transposed convolution with more output padding than its kernel covers")
        crop = "same"
    fields = {"channels": weight.shape[1], "kernel": kernel, "stride": stride, "padding": crop}
    return Statement(f"conv_transpose{rank}d", fields | {"bias": "bias" in view.step.tensors}, rank=rank + 1)


@STATEMENTS.register("linear")
def _linear(view: StepView) -> Statement:
    weight: Any = view.step.tensors["weight"].array
    fields = {"features": weight.shape[0], "bias": "bias" in view.step.tensors}
    return Statement("linear", fields, rank=int(view.fields["last"]) + 1)


@STATEMENTS.register("matmul")
def _matmul(view: StepView) -> Statement:
    fields = {name: view.fields[name] for name in ("transpose_first", "transpose_second") if name in view.fields}
    # Exact in float32, as the file has it.
    return Statement("matmul", fields | {"factor": decimal(view.fields.get("factor", 1.0))}, rank=view.fields["rank"])


# ---------------------------------------------------------------------------------------------------------------
# Normalizations


@STATEMENTS.register("batch_norm")
def _batch_norm(view: StepView) -> Statement:
    momentum = round(1 - decimal(view.fields["decay"]), 12)
    fields = {"epsilon": decimal(view.fields["epsilon"]), "momentum": momentum} | _affine(view)
    return Statement("batch_norm", fields)


@STATEMENTS.register("position_batch_norm")
def _position_batch_norm(view: StepView) -> Statement:
    # A file does not state the momentum; it is the usual one.
    fields = {"epsilon": decimal(view.fields["epsilon"]), "momentum": 0.1} | _affine(view)
    return Statement("position_batch_norm", fields, rank=_map_axes(view))


@STATEMENTS.register("filter_response_norm")
def _filter_response_norm(view: StepView) -> Statement:
    fields = {"epsilon": decimal(view.fields["epsilon"]), "threshold": view.fields["threshold"]}
    return Statement("filter_response_norm", fields, rank=_map_axes(view))


@STATEMENTS.register("evo_norm_s0")
def _evo_norm(view: StepView) -> Statement:
    fields = {"epsilon": decimal(view.fields["epsilon"]), "groups": view.fields["groups"], "gate": view.fields["gate"]}
    return Statement("evo_norm_s0", fields, rank=_map_axes(view))


@STATEMENTS.register("group_norm")
def _group_norm(view: StepView) -> Statement:
    fields = {"groups": view.fields["groups"], "epsilon": decimal(view.fields["epsilon"])}
    return Statement("group_norm", fields | _affine(view))


@STATEMENTS.register("layer_norm")
def _layer_norm(view: StepView) -> Statement:
    axis: int = view.fields["axis"]
    fields = {"axis": axis, "epsilon": decimal(view.fields["epsilon"])} | _affine(view)
    return Statement("layer_norm", fields, rank=_rank_with(view, axis))


@STATEMENTS.register("instance_norm")
def _instance_norm(view: StepView) -> Statement:
    return Statement("instance_norm", {"epsilon": decimal(view.fields["epsilon"])} | _affine(view))


@STATEMENTS.register("l2_normalize")
def _l2_normalize(view: StepView) -> Statement:
    axis = view.fields["axis"]
    fields = {"axis": axis, "epsilon": decimal(view.fields["epsilon"])}
    return Statement("l2_normalize", fields, rank=_rank_with(view, axis))


def _affine(view: StepView) -> dict[str, bool]:
    """Whether a normalization has a scale and an offset."""
    return {"scale": "weight" in view.step.tensors, "offset": "bias" in view.step.tensors}


def _rank_with(view: StepView, axis: int) -> int | None:
    """Return how many axes a value needs to have one, None if it has enough."""
    return None if axis < len(view.shapes[0]) else axis + 1


# ---------------------------------------------------------------------------------------------------------------
# Activations


@STATEMENTS.register("relu", "silu", "mish", "sigmoid", "hard_swish", "tanh", "softplus")
def _activation(view: StepView) -> Statement:
    return Statement(view.step.kind)


@STATEMENTS.register("clip")
def _clip(view: StepView) -> Statement:
    minimum, maximum = view.fields["minimum"], view.fields["maximum"]
    if (minimum, maximum) != (0.0, 6.0):
        raise UnstatedError(f"limits values to {minimum:.6g} and {maximum:.6g}; of bounds only relu and relu6 exist")
    return Statement("relu6")


@STATEMENTS.register("leaky_relu")
def _leaky_relu(view: StepView) -> Statement:
    return Statement("leaky_relu", {"slope": decimal(view.fields["slope"])})


@STATEMENTS.register("elu")
def _elu(view: StepView) -> Statement:
    return Statement("elu", {"alpha": decimal(view.fields["alpha"])})


@STATEMENTS.register("gelu")
def _gelu(view: StepView) -> Statement:
    return Statement("gelu", {"approximate": view.fields["approximate"]})


@STATEMENTS.register("hard_sigmoid")
def _hard_sigmoid(view: StepView) -> Statement:
    if any(abs(view.fields[name] - value) > 1e-6 for name, value in HARD_SIGMOID.items()):
        raise UnstatedError(f"is a hard sigmoid of slope {view.fields['slope']:.6g}, not 1/6")
    return Statement("hard_sigmoid")


@STATEMENTS.register("prelu")
def _prelu(view: StepView) -> Statement:
    weight: Any = view.step.tensors["weight"].array
    return Statement("prelu", {"per_channel": weight.size > 1 or view.step.shape[0] == 1})


@STATEMENTS.register("softmax")
def _softmax(view: StepView) -> Statement:
    axis = view.fields["axis"]
    return Statement("softmax", {"axis": axis}, rank=_rank_with(view, axis))


@STATEMENTS.register("dropout")
def _dropout(view: StepView) -> Statement:
    return Statement("dropout", {"rate": decimal(view.fields["rate"])})


# ---------------------------------------------------------------------------------------------------------------
# Pools and reductions


@STATEMENTS.register("max_pool")
def _max_pool(view: StepView) -> Statement:
    window = _pool_window(view)
    rank = len(window.kernel)
    return Statement(f"max_pool{rank}d", _pool_fields(window), rank=rank + 1)


@STATEMENTS.register("average_pool")
def _average_pool(view: StepView) -> Statement:
    window = _pool_window(view)
    rank = len(window.kernel)
    counted = view.fields["count_include_pad"] and (window.padding == "same" or not is_unpadded(window.padding))
    # Padding that counts is not that of ``ceil_mode``, which never does.
    fields = _window_fields(window) | {"ceil_mode": window.ceil_mode} if counted else _pool_fields(window)
    return Statement(f"avg_pool{rank}d", fields | {"count_include_pad": counted}, rank=rank + 1)


def _pool_fields(window: Window) -> dict[str, Any]:
    """Return a pool's window; more rows after the map than before it are those of ``ceil_mode``, if they are."""
    if window.padding == "same" or window.ceil_mode:
        return _window_fields(window) | {"ceil_mode": window.ceil_mode and window.padding != "same"}
    equal = tuple((before, before) for before, _ in window.padding)
    axes = zip(window.kernel, window.stride, equal, strict=True)
    ceil_mode = window.padding != equal and window.padding == tuple(fixed_ceil_padding(*axis) for axis in axes)
    return _window_fields(window._replace(padding=equal if ceil_mode else window.padding)) | {"ceil_mode": ceil_mode}


@STATEMENTS.register("global_average_pool")
def _global_average_pool(view: StepView) -> Statement:
    return Statement("global_avg_pool", rank=_map_axes(view))


@STATEMENTS.register("global_max_pool")
def _global_max_pool(view: StepView) -> Statement:
    return Statement("global_max_pool", rank=_map_axes(view))


def _map_axes(view: StepView) -> int | None:
    """The axes of a map that a pool reads: those that it has, or an image's."""
    return None if len(view.shapes[0]) > 1 else 3


@STATEMENTS.register("gem_pool")
def _gem_pool(view: StepView) -> Statement:
    return Statement("gem_pool", {"epsilon": decimal(view.fields["epsilon"])}, rank=_map_axes(view))


@STATEMENTS.register("mean", "max", "sum")
def _reduction(view: StepView) -> Statement:
    axes, rank = view.fields["axes"], len(view.shapes[0])
    pools = {"mean": "global_avg_pool", "max": "global_max_pool"}
    if axes == (1, 2) and rank == 3 and view.step.kind in pools:
        return Statement(pools[view.step.kind])
    return Statement(view.step.kind, {"axis": axes}, rank=_rank_with(view, max(axes)))


# ---------------------------------------------------------------------------------------------------------------
# Shapes


@STATEMENTS.register("pad")
def _pad(view: StepView) -> Statement:
    step = view.step
    if len({*view.each("padding")}) > 1:
        raise UnstatedError("pads by a number of rows that depends on the input's size")
    if step.fields["mode"] == "edge":
        raise UnstatedError("repeats the edge; only constants and reflection exist")
    (before, after), edges = view.fields["channels"] or (0, 0), view.fields["padding"]
    if before or after:
        if any(map(any, edges)) or step.fields["value"] != 0:
            raise UnstatedError("pads channels and positions at once, or channels by another number than 0")
        return Statement("pad_channels", {"before": before, "after": after}, rank=_map_axes(view))
    value = {"value": decimal(step.fields["value"])} if step.fields["mode"] == "constant" else {}
    rank = _positions(view, [*map(any, edges)])
    edges = edges[:rank]
    return Statement(f"pad{rank}d", {"padding": edges, "mode": step.fields["mode"]} | value, rank=rank + 1)


@STATEMENTS.register("reshape")
def _reshape(view: StepView) -> Statement:
    targets = view.each("to")
    kept = len(targets[0]) - 1
    flat = [(*shape[:kept], prod(shape[kept:])) for shape in view.inputs_at()]
    if targets == flat and kept < len(view.shapes[0]) - 1:
        return Statement("flatten", {"axis": kept})
    if len({*targets}) > 1:
        raise UnstatedError("has a shape that depends on the input's size")
    return Statement("reshape", {"shape": targets[0]})


@STATEMENTS.register("transpose")
def _transpose(view: StepView) -> Statement:
    axes, rank = view.fields["axes"], len(view.shapes[0])
    # Axes of size 1 that a value does not have stay behind the others.
    least = max((position + 1 for position, axis in enumerate(axes) if position != axis), default=1)
    rank = max(rank, least)
    return Statement("transpose", {"axes": axes[:rank]}, rank=rank)


@STATEMENTS.register("slice")
def _slice(view: StepView) -> Statement:
    axis: int = view.fields["axis"]
    bounds = [*zip(view.each("start"), view.each("stop"), strict=True)]
    sizes = [shape[axis] for shape in view.inputs_at()]
    start, stop = bounds[0]
    rank = _rank_with(view, axis)
    parts, rest = divmod(sizes[0], stop - start)
    if (len({*bounds}) > 1 or view.step.source.endswith("(Split)")) and not rest and parts > 1:
        part = start // (stop - start)
        share = [size / parts for size in sizes]
        if bounds == [(part * each, (part + 1) * each) for each in share]:
            return Statement("slice", {"axis": axis, "part": part, "parts": parts}, rank=rank)
    if len({first for first, _ in bounds}) > 1:
        raise UnstatedError("takes a part that depends on the input's size")
    if all(end == size for (_, end), size in zip(bounds, sizes, strict=True)):
        return Statement("slice", {"axis": axis, "start": start}, rank=rank)
    if len({*bounds}) > 1:
        raise UnstatedError("takes a part that depends on the input's size")
    return Statement("slice", {"axis": axis, "start": start, "stop": stop}, rank=rank)


@STATEMENTS.register("resize")
def _resize(view: StepView) -> Statement:
    mode, coordinates, *down = view.fields["interpolation"].split()
    if down:
        raise UnstatedError("rounds half down between positions, which the language does not have")
    rounding = {"asymmetric": "floor", "half_pixel": "half_up"}[coordinates] if mode == "nearest" else None
    fields: dict[str, Any] = {"mode": mode, "coordinates": coordinates, "rounding": rounding}
    before = [shape[1:] for shape in view.inputs_at()]
    after = [shape[1:] for shape in view.shapes_after()]
    factors = {tuple(b / a for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)}
    (factor, *others) = factors
    if not others and all(number.is_integer() and 1 <= number <= LARGEST_SCALE for number in factor):
        return Statement("resize", fields | {"scale": tuple(map(int, factor))}, rank=3)
    if len({*after}) == 1:
        return Statement("resize", fields | {"size": after[0]}, rank=3)
    like = view.step_of_positions(after)
    if like is None:
        raise UnstatedError("resizes to a size that is neither a multiple of its input's nor another value's")
    return Statement("resize", fields | {"like": True}, inputs=(view.step.inputs[0], like), rank=3)


# ---------------------------------------------------------------------------------------------------------------
# Joins and learned values


@STATEMENTS.register("add", "multiply", "subtract", "maximum")
def _join(view: StepView) -> Statement:
    return Statement(view.step.kind, rank=max(map(len, view.shapes)))


@STATEMENTS.register("concat")
def _concat(view: StepView) -> Statement:
    axis: int = view.fields["axis"]
    return Statement("concat", {"axis": axis}, rank=max(axis + 1, *map(len, view.shapes)))


@STATEMENTS.register("learned_factor")
def _factor(view: StepView) -> Statement:
    tensor = view.step.tensors["weight"]
    if not view.fields["divided"]:
        return _constant("scale", tensor)
    if not np.all(tensor.array):
        raise UnstatedError("divides by 0")
    return _constant("scale", tensor, lambda array: 1 / array)


@STATEMENTS.register("learned_term")
def _term(view: StepView) -> Statement:
    tensor = view.step.tensors["bias"]
    return _constant("offset", tensor, np.negative) if view.fields["negated"] else _constant("offset", tensor)


def _constant(op: str, tensor: Tensor, changed: Callable[[Any], Any] | None = None) -> Statement:
    """Return a factor or term; one that is changed no longer has the name of the source's array."""
    array: NDArray[Any] = np.asarray(tensor.array)
    shape = "channels"
    # One number of the file was broadcast to the channels without a copy.
    if array.strides == (0,):
        array, shape = array[:1].reshape(()), "scalar"
    if changed:
        return Statement(op, {"shape": shape}, tensors={"": Tensor((), changed(np.float64(array)).astype(array.dtype))})
    return Statement(op, {"shape": shape}, tensors={"": tensor._replace(array=array)})


@STATEMENTS.register("learned_scale", "learned_offset")
def _learned(view: StepView) -> Statement:
    along = view.fields["along"]
    shape = view.step.shape
    varying = tuple(axis for axis, size in enumerate(shape) if size != 1)
    if along == varying:
        extent = "map"
    elif along in ((0,), ()):
        extent = "channels" if along else "scalar"
    else:
        raise UnstatedError(f"has a constant that varies along some axes of {list(shape)} only")
    op, tensor = view.step.kind.removeprefix("learned_"), view.step.tensors[""]
    if view.fields.get("negated"):
        tensor = Tensor((), np.negative(np.asarray(tensor.array)))
    return Statement(op, {"shape": extent}, tensors={"": tensor})


@STATEMENTS.register("parameter")
def _parameter(view: StepView) -> Statement:
    array: Any = view.step.tensors[""].array
    return Statement("parameter", {"shape": array.shape})
