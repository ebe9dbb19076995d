"""A Hypothesis strategy over the spec language: networks as the plain data that a YAML file holds.

Each step is drawn for the shape of its input, which the core computes by lowering the steps before it, so that most
specs are valid. Some windows may not fit, and some finished specs are made invalid: an invalid spec must be rejected
with the position of each error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from resnet_spec.document.files import read
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.operations import OPERATIONS, Category
from resnet_spec.operations.fields import Shape
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.spec import Spec

Data = dict[str, Any]

LARGEST_SIDE = 40
"""Larger maps are not enlarged: these comparisons need variety, not size."""

LARGEST_VALUE = 4000
"""So are values of more numbers."""

ACTIVATIONS = tuple(name for name, kind in OPERATIONS.items() if kind.category is Category.ACTIVATION)
EPSILONS = (1e-5, 1e-3, 1e-2)

SHIPPED_GATES = ("squeeze_excite", "eca_gate")
SHIPPED_BLOCKS = ("basic_block", "bottleneck", "wide_basic_block", "tutorial_block", "preact_basic_block")
SHIPPED_PROJECTIONS = ("conv_projection", "zero_padding", "avg_projection", "preact_projection")

ODD_NAMES = ("0", "1", "add", "conv", "forward", "training", "x-1", "weight", "Ünit", "input", "T", "bias", "relu")


class Drawing:
    """Draws values by Hypothesis' own draw."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def pick(self, *values: Any) -> Any:
        """One of the values; the first is the simplest."""
        return self._draw(st.sampled_from(values))

    def number(self, least: int, most: int) -> int:
        """A whole number; the least is the simplest."""
        return self._draw(st.integers(least, most))

    def sometimes(self, in_hundred: int) -> bool:
        """True with this probability in percent; false is the simplest."""
        return self._draw(st.integers(0, 99)) >= 100 - in_hundred

    def extents(self, least: int, most: int, rank: int) -> Any:
        """A number for all axes of positions, or sometimes one for each."""
        if self.sometimes(25):
            return [self.number(least, most) for _ in range(rank)]
        return self.number(least, most)


class Sketch:
    """An unfinished spec: its data, and what the next step may refer to."""

    def __init__(self, drawing: Drawing, data: Data) -> None:
        self.drawing = drawing
        self.data = data
        self.last = "input"
        self.section = "stem"
        self.gate: str | None = None
        self._names: set[str] = {"input"}
        self._shipped: set[str] = set()

    def graph(self) -> Graph | None:
        """The graph of the steps until now; None if the core rejects it, or if it is empty."""
        blocks = {name: shipped_block(name) for name in self._shipped} | self.data.get("blocks", {})
        try:
            return Spec.model_validate({**self.data, "blocks": blocks}).to_graph()
        except (ResnetSpecError, ValidationError):
            return None

    def shape(self) -> Shape | None:
        """The shape of the next step's input; None after a mistake."""
        if self.last == "input":
            sizes = self.data["input"]
            return tuple(sizes.values())
        graph = self.graph()
        return graph.by_name[graph.outputs[-1]].shape if graph else None

    def name(self, word: str) -> str:
        """A new name: mostly the word, sometimes with a dot, or one that may be invalid."""
        drawing = self.drawing
        count = len(self._names)
        name = drawing.pick(f"{word}{count}", f"{word}{count}", f"{word}{count}", f"part{count // 3}.{word}{count}")
        if drawing.sometimes(1):
            name = drawing.pick(*ODD_NAMES)
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def step(self, word: str, step: Any) -> str:
        """Add a step to the section; its name."""
        name = self.name(word)
        self.data.setdefault(self.section, {})[name] = step
        self.last = name
        return name

    def ship(self, *names: str) -> None:
        """Note that shipped blocks are used, which a spec need not mention."""
        self._shipped.update(names)

    def own(self, name: str, block: Data) -> None:
        """Give the spec a block of its own."""
        self.data.setdefault("blocks", {})[name] = block

    def known(self) -> dict[str, int]:
        """Names for whole numbers that an expression outside blocks may use."""
        sizes = self.data["input"]
        named = {f"in_{key}": value for key, value in sizes.items()}
        return named | self.data.get("parameters", {})

    def written(self, value: int) -> int | str:
        """A whole number as it is, or sometimes as an expression of the same value."""
        if not self.drawing.sometimes(25):
            return value
        known = self.known()
        name = self.drawing.pick(*known)
        held = known[name]
        if value == held:
            return name
        if value % held == 0:
            return f"{name} * {value // held}"
        return f"{name} + {value - held}" if value > held else f"{name} - {held - value}"


@cache
def shipped_block(name: str) -> Data:
    """A shipped block's data, as it is written under ``blocks``."""
    data = read(Catalog.shipped().blocks()[name]).data
    return {key: value for key, value in data.items() if key != "block"}


def fits(kind: str, fields: Data, shape: Shape) -> bool:
    """Whether an operation with numbers alone suits a shape."""
    try:
        OPERATIONS[kind].model_validate({"op": kind, **fields}).output_shape(shape)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------
# Windows


def _edges(drawing: Drawing, most: int, rank: int) -> Any:
    if drawing.sometimes(40):
        return [[drawing.number(0, most), drawing.number(0, most)] for _ in range(rank)]
    return drawing.number(0, most)


def _largest(extents: Any) -> int:
    return max(extents) if isinstance(extents, list) else extents


def _ranked(sketch: Sketch, kind: str, shape: Shape) -> str:
    """An operation's name for a shape: with the rank, or sometimes without it."""
    return f"{kind}_nd" if sketch.drawing.sometimes(20) else f"{kind}{len(shape) - 1}d"


def _window(drawing: Drawing, kind: str, fields: Data, shape: Shape) -> Data:
    """The fields with a padding under which the window fits, or sometimes with one that may not."""
    if not fits(kind.replace("_nd", f"{len(shape) - 1}d"), fields, shape) and not drawing.sometimes(5):
        return {key: value for key, value in fields.items() if key != "ceil_mode"} | {"padding": "same"}
    return fields


def _conv_fields(drawing: Drawing, kind: str, shape: Shape, channels: int) -> Data:
    rank = len(shape) - 1
    kernel = drawing.extents(1, 5 if rank < 3 else 3, rank)
    fields: Data = {"channels": channels, "kernel": kernel}
    if drawing.sometimes(35):
        fields["stride"] = drawing.extents(1, 3, rank)
    if drawing.sometimes(20) and (_largest(fields.get("stride", 1)) == 1 or drawing.sometimes(10)):
        fields["dilation"] = drawing.extents(1, 3, rank)
    match drawing.number(0, 4):
        case 0:
            pass
        case 1 | 2:
            fields["padding"] = "same"
        case 3 if isinstance(kernel, int) and isinstance(fields.get("dilation", 1), int):
            fields["padding"] = kernel // 2 * fields.get("dilation", 1)
        case _:
            fields["padding"] = _edges(drawing, 3, rank)
    if drawing.sometimes(8):
        fields["groups"] = drawing.pick(*(n for n in range(1, shape[0] + 1) if shape[0] % n == 0))
        fields["channels"] = fields["groups"] * drawing.number(1, 2)
    if drawing.sometimes(40):
        fields["bias"] = drawing.pick(True, False)
    if kind == "std_conv2d":
        fields["epsilon"] = drawing.pick(*EPSILONS)
        if drawing.sometimes(40):
            fields["gain"] = True
            fields |= {"gamma": drawing.pick(1.7139588594436646, 0.5)} if drawing.sometimes(50) else {}
    return _window(drawing, kind, fields, shape)


def _pool_fields(drawing: Drawing, kind: str, shape: Shape) -> Data:
    rank = len(shape) - 1
    kernel = drawing.extents(1, 4, rank)
    least = min(kernel) if isinstance(kernel, list) else kernel
    fields: Data = {"kernel": kernel}
    if drawing.sometimes(70):
        fields["stride"] = drawing.extents(1, 3, rank)
    match drawing.number(0, 3):
        case 0:
            pass
        case 1:
            fields["padding"] = "same"
        case _:
            fields["padding"] = _edges(drawing, least // 2 if not drawing.sometimes(2) else 3, rank)
    if fields.get("padding") != "same" and drawing.sometimes(50):
        fields["ceil_mode"] = True
    average = kind.startswith("avg_pool")
    fields = _window(drawing, kind, fields | ({"count_include_pad": True} if average else {}), shape)
    if average:
        fields["count_include_pad"] = drawing.pick(True, False)
        if "padding" not in fields and drawing.sometimes(50):
            del fields["count_include_pad"]
    return fields


def _transposed_fields(drawing: Drawing, shape: Shape, channels: int) -> Data:
    rank = len(shape) - 1
    kernel, stride = drawing.extents(1, 5 if rank < 3 else 3, rank), drawing.extents(1, 3 if rank < 3 else 2, rank)
    fields: Data = {"channels": channels, "kernel": kernel, "stride": stride}
    match drawing.number(0, 2):
        case 0:
            fields["padding"] = "same"
        case 1:
            pass
        case _:
            fields["padding"] = _edges(drawing, 2, rank)
    if drawing.sometimes(40):
        fields["bias"] = True
    return _window(drawing, "conv_transpose_nd", fields, shape)


# ---------------------------------------------------------------------------------------------------------------
# Steps for maps, signals and volumes


def _convolution(sketch: Sketch, shape: Shape) -> None:
    drawing = sketch.drawing
    plain = f"conv{len(shape) - 1}d"
    kind = drawing.pick(plain, plain, plain, plain, "std_conv2d" if len(shape) == 3 else plain)
    fields = _conv_fields(drawing, kind, shape, drawing.number(1, 6))
    fields["channels"] = sketch.written(fields["channels"])
    if kind == plain and drawing.sometimes(20):
        kind = drawing.pick("conv", "conv_nd")  # the one as the spec's own layers define it
    sketch.step("conv", {kind: fields})


def _transposed(sketch: Sketch, shape: Shape) -> None:
    fields = _transposed_fields(sketch.drawing, shape, sketch.drawing.number(1, 5))
    fields["channels"] = sketch.written(fields["channels"])
    sketch.step("up", {_ranked(sketch, "conv_transpose", shape): fields})


def normalization(drawing: Drawing, channels: int) -> Data:
    """A normalization of a map of so many channels."""
    epsilon = drawing.pick(*EPSILONS) if not drawing.sometimes(2) else 0.0
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    groups = drawing.pick(*divisors) if not drawing.sometimes(2) else 3
    kinds = "batch_norm", "group_norm", "evo_norm_s0", "filter_response_norm", "position_batch_norm", "layer_norm"
    kind = drawing.pick(*kinds, "instance_norm")
    match kind:
        case "layer_norm":
            axis = {"axis": drawing.number(0, 2)} if drawing.sometimes(40) else {}
            return {kind: {"epsilon": epsilon, **axis, **_affine(drawing)}}
        case "instance_norm":
            return {kind: {"epsilon": epsilon, **_affine(drawing)}}
        case "group_norm":
            return {kind: {"groups": groups, "epsilon": epsilon, **_affine(drawing)}}
        case "evo_norm_s0":
            gate = {"gate": drawing.pick(True, False)} if drawing.sometimes(60) else {}
            return {kind: {"groups": groups, "epsilon": epsilon, **gate}}
        case "filter_response_norm":
            return {kind: {"epsilon": epsilon, "threshold": drawing.pick(True, False)}}
        case _:
            return {kind: _batch_norm_fields(drawing, epsilon) | _affine(drawing)}


def _batch_norm_fields(drawing: Drawing, epsilon: float) -> Data:
    momentum = drawing.pick({"momentum": 0.1}, {"decay": 0.9}, {"decay": 0.997}, {"momentum": 1.0}, {"momentum": 0.0})
    return {"epsilon": epsilon, **momentum, "running_variance": drawing.pick("unbiased", "biased")}


def _affine(drawing: Drawing) -> Data:
    return {key: drawing.pick(True, False) for key in ("scale", "offset") if drawing.sometimes(20)}


def _normalized(sketch: Sketch, shape: Shape) -> None:
    own = sketch.drawing.sometimes(80)
    sketch.step("norm", normalization(sketch.drawing, shape[0]) if own else "norm")


def _activation(sketch: Sketch, shape: Shape) -> None:
    sketch.step("act", activation(sketch.drawing))


def activation(drawing: Drawing) -> Any:
    """An activation of any kind, often one of the two most common."""
    if drawing.sometimes(40):
        return drawing.pick("relu", "act", "sigmoid")
    kind = drawing.pick(*ACTIVATIONS)
    match kind:
        case "leaky_relu":
            return {kind: {"slope": drawing.pick(0.01, 0.1, 0.25, 0.3)}}
        case "prelu":
            return {kind: {"per_channel": drawing.pick(True, False)}}
        case "elu":
            return {kind: drawing.pick({}, {"alpha": 0.7})}
        case "gelu":
            return {kind: {"approximate": drawing.pick(True, False)}}
        case _:
            return kind


def _pool(sketch: Sketch, shape: Shape) -> None:
    kind = _ranked(sketch, sketch.drawing.pick("max_pool", "avg_pool"), shape)
    sketch.step("pool", {kind: _pool_fields(sketch.drawing, kind, shape)})


def _padded(sketch: Sketch, shape: Shape) -> None:
    drawing = sketch.drawing
    match drawing.number(0, 2):
        case 0:
            fields: Data = {"padding": _edges(drawing, 2, len(shape) - 1)}
            if drawing.sometimes(40):
                fields["value"] = drawing.pick(1.0, -0.5)
            sketch.step("pad", {_ranked(sketch, "pad", shape): fields})
        case 1:
            least = min(*shape[1:], 3) - (not drawing.sometimes(10))
            fields = {"padding": _edges(drawing, least, len(shape) - 1), "mode": "reflect"}
            sketch.step("mirror", {_ranked(sketch, "pad", shape): fields})
        case _:
            fields = {key: drawing.number(0, 2) for key in ("before", "after") if drawing.sometimes(70)}
            sketch.step("wider", {"pad_channels": fields})


def _multiplied(sketch: Sketch, shape: Shape) -> None:
    """A transpose, a linear layer over the last axis, or the product of a value with itself or with a part of it."""
    drawing, start = sketch.drawing, sketch.last
    match drawing.number(0, 2):
        case 0:
            order = [*range(len(shape))]
            axes = [order.pop(drawing.number(0, len(order) - 1)) for _ in shape]
            sketch.step("turned", {"transpose": {"axes": axes}})
        case 1:
            sketch.step("fc", {"linear": {"features": drawing.number(1, 5), "bias": drawing.pick(True, False)}})
        case _:
            first = drawing.pick(True, False)
            fields: Data = {"transpose_first": first, "transpose_second": not first}
            fields |= {"factor": drawing.pick(0.5, -1.5)} if drawing.sometimes(30) else {}
            other = start
            if len(shape) > 2 and drawing.sometimes(40):
                other = sketch.step("one", {"slice": {"axis": 0, "stop": 1}})
            sketch.step("product", {"matmul": fields, "from": drawing.pick([start, other], [other, start])})


def _learned(sketch: Sketch, shape: Shape) -> None:
    """A learned factor or term, or a learned value that is added."""
    drawing = sketch.drawing
    kind = drawing.pick("scale", "scale", "offset", "parameter")
    initial = {"initial": drawing.pick(1.0, 0.0, 1e-6, -2.5)} if drawing.sometimes(50) else {}
    if kind != "parameter":
        extent = drawing.pick("channels", "scalar", "map") if prod(shape) <= 300 else drawing.pick("channels", "scalar")
        sketch.step("learned", {kind: {"shape": extent, **initial}})
    elif prod(shape) <= 300:
        start = sketch.last
        token = sketch.step("token", {kind: {"shape": [*shape], **initial}})
        sketch.step("join", {drawing.pick("add", "multiply"): {}, "from": [start, token]})


def _regularized(sketch: Sketch, shape: Shape) -> None:
    kind = sketch.drawing.pick("dropout", "stochastic_depth")
    sketch.step("drop", {kind: {"rate": sketch.drawing.pick(0.5, 0.1, 0.0)}})


def _absent(sketch: Sketch, shape: Shape) -> None:
    condition = sketch.drawing.pick("false", "in_channels < 1" if len(shape) > 1 else "in_features < 1", "base > 100")
    sketch.step("absent", sketch.drawing.pick("none", None, {"relu": {}, "when": condition}))


def _global_pool(sketch: Sketch, shape: Shape) -> None:
    drawing = sketch.drawing
    kind = drawing.pick("global_avg_pool", "global_max_pool", "gem_pool")
    if kind != "gem_pool":
        sketch.step("squeeze", kind)
        return
    initial = {"initial": drawing.pick(1.0, 2.5)} if drawing.sometimes(40) else {}
    sketch.step("squeeze", {kind: {"epsilon": drawing.pick(1e-3, 0.1), **initial}})


def _flat(sketch: Sketch, shape: Shape) -> None:
    drawing = sketch.drawing
    if len(shape) > 2 and drawing.sometimes(50):
        sketch.step("rows", {"flatten": {"axis": drawing.number(1, len(shape) - 2)}})
    elif prod(shape) <= 300:
        sketch.step("flat", "flatten")


def _reshaped(sketch: Sketch, shape: Shape) -> None:
    total = prod(shape)
    divisors = [n for n in range(1, min(total, 16) + 1) if total % n == 0]
    first = sketch.drawing.pick(*divisors)
    second = sketch.drawing.pick(*(n for n in divisors if total // first % n == 0))
    shapes = [[first, second, total // first // second], [first, total // first], [total]]
    wanted = sketch.drawing.pick(*shapes)
    if max(wanted) <= 300:
        sketch.step("reshape", {"reshape": {"shape": wanted}})


def _kept(drawing: Drawing, shape: Shape) -> Any:
    """A layer that keeps a map's shape."""
    rank = len(shape) - 1
    match drawing.number(0, 3):
        case 0:
            kernel = drawing.pick(1, 3, [*[1] * (rank - 1), 3], 2)
            return {f"conv{rank}d": {"channels": shape[0], "kernel": kernel, "padding": "same"}}
        case 1:
            return normalization(drawing, shape[0])
        case 2:
            kind = drawing.pick("avg_pool", "max_pool")
            counted = {"count_include_pad": drawing.pick(True, False)} if kind == "avg_pool" else {}
            uneven = [[1, 0], [0, 1], [1, 0]][:rank]
            kernel, padding = drawing.pick((3, 1), (3, "same"), (2, uneven), (2, "same"))
            return {f"{kind}{rank}d": {"kernel": kernel, "stride": 1, "padding": padding, **counted}}
        case _:
            return activation(drawing)


def _residual(sketch: Sketch, shape: Shape) -> None:
    """Two branches of one value that are joined again."""
    drawing, start = sketch.drawing, sketch.last
    first = sketch.step("left", _kept(drawing, shape))
    others = [start]
    if drawing.sometimes(50):
        others = [sketch.step("right", {**_with_from(_kept(drawing, shape), start)})]
        others += [start] if drawing.sometimes(30) else []
    terms = [first, *others] if drawing.sometimes(50) else [*others, first]
    operation = _join(drawing, len(terms))
    fields = {"factor": drawing.pick(0.3, -1.5)} if operation == "multiply" and drawing.sometimes(50) else {}
    sketch.step("join", {operation: fields, "from": terms})


def _join(drawing: Drawing, arity: int) -> str:
    """An operation of several inputs of one shape, often a sum."""
    if drawing.sometimes(50):
        return "add"
    return drawing.pick("multiply", "maximum", "concat", *(["subtract"] if arity == 2 else []))


def _broadcast(sketch: Sketch, shape: Shape) -> None:
    """A value and one row, column or channel of it."""
    drawing, start = sketch.drawing, sketch.last
    axis = drawing.number(0, len(shape) - 1)
    position = drawing.number(0, shape[axis] - 1)
    part = sketch.step("one", {"slice": {"axis": axis, "start": position, "stop": position + 1}})
    terms = [start, part] if drawing.sometimes(50) else [part, start]
    sketch.step("spread", {drawing.pick("add", "multiply", "subtract", "maximum"): {}, "from": terms})


def _reduced(sketch: Sketch, shape: Shape) -> None:
    """Means, maxima or sums along some axes, alone, or as a factor of the value, or a softmax."""
    drawing, start = sketch.drawing, sketch.last
    axes = [axis for axis in range(len(shape)) if drawing.sometimes(50)] or drawing.number(0, len(shape) - 1)
    if drawing.sometimes(20):
        fields = {"axis": drawing.number(0, len(shape) - 1), "epsilon": drawing.pick(1e-3, 1.0)}
        sketch.step("unit", {"l2_normalize": fields})
        return
    if drawing.sometimes(20):
        sketch.step("times", {"multiply": {"factor": drawing.pick(0.3, -1.5)}})
        return
    if drawing.sometimes(30):
        sketch.step("soft", {"softmax": {"axis": drawing.number(0, len(shape) - 1)}})
        return
    name = sketch.step("less", {drawing.pick("mean", "max", "sum"): {"axis": axes}})
    if drawing.sometimes(70):
        gate = sketch.step("gate", "sigmoid") if drawing.sometimes(50) else name
        sketch.step("gated", {drawing.pick("multiply", "add", "subtract"): {}, "from": [start, gate]})


def _resized(sketch: Sketch, shape: Shape) -> None:
    """Another height and width, or the value's own again after a pool."""
    drawing, start = sketch.drawing, sketch.last
    kind = drawing.pick(
        {"mode": "bilinear", "coordinates": "half_pixel"},
        {"mode": "bilinear", "coordinates": "align_corners"},
        {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
        {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
    )
    match drawing.number(0, 2):
        case 0 if max(shape[1:]) <= LARGEST_SIDE // 3:
            sketch.step("resize", {"resize": {**kind, "scale": drawing.extents(1, 3, 2)}})
        case 1:
            less = sketch.step("less", {"max_pool2d": {"kernel": 2, "ceil_mode": True}})
            sketch.step("resize", {"resize": {**kind, "like": True}, "from": [less, start]})
        case _:
            sketch.step("resize", {"resize": {**kind, "size": [drawing.number(1, 20), drawing.number(1, 20)]}})


def _sliced(sketch: Sketch, shape: Shape) -> None:
    """A part of a value, and sometimes all parts again in another order."""
    drawing, start = sketch.drawing, sketch.last
    axis = drawing.number(0, len(shape) - 1)
    size = shape[axis]
    parts = drawing.pick(*(n for n in range(1, min(size, 4) + 1) if size % n == 0)) if not drawing.sometimes(3) else 5
    match drawing.number(0, 2):
        case 0:
            first = drawing.number(0, size - 1)
            fields = {"start": first, "stop": drawing.number(first + 1, size)}
            sketch.step("cut", {"slice": {"axis": axis, **fields}})
        case 1:
            sketch.step("part", {"slice": {"axis": axis, "part": drawing.number(0, parts - 1), "parts": parts}})
        case _:
            names = [
                sketch.step("part", {"slice": {"axis": axis, "part": part, "parts": parts}, "from": start})
                for part in reversed(range(parts))
            ]
            if parts > 1:
                sketch.step("cat", {"concat": {"axis": drawing.pick(axis, axis, 0)}, "from": names})


def _with_from(layer: Any, start: str) -> Data:
    return {**({layer: {}} if isinstance(layer, str) else layer), "from": start}


def _gate(sketch: Sketch, shape: Shape) -> None:
    """A factor for each channel from a value's global pools."""
    drawing, start = sketch.drawing, sketch.last
    squeezed = sketch.step("squeeze", {drawing.pick("global_avg_pool", "global_max_pool"): {}, "from": start})
    if drawing.sometimes(20):
        other = sketch.step("squeeze", {"global_max_pool": {}, "from": start})
        sketch.step("both", {"add": {}, "from": [squeezed, other]})
    match drawing.number(0, 2):
        case 0:
            sketch.step("excite", {f"conv{len(shape) - 1}d": {"channels": shape[0], "kernel": 1, "bias": True}})
        case 1:
            sketch.step("row", {"reshape": {"shape": [1, shape[0]]}})
            sketch.step("mix", {"conv1d": {"channels": 1, "kernel": 3, "padding": 1}})
            sketch.step("column", {"reshape": {"shape": [shape[0], *[1] * (len(shape) - 1)]}})
        case _:
            sketch.step("flat", "flatten")
            sketch.step("mix", {"linear": {"features": shape[0]}})
            sketch.step("column", {"reshape": {"shape": [shape[0], *[1] * (len(shape) - 1)]}})
    gate = sketch.step("gate", "sigmoid")
    sketch.step("scale", {"multiply": {}, "from": [start, gate]})


def _again(sketch: Sketch, shape: Shape) -> None:
    """A layer that keeps the shape, and once more: one set of parameters."""
    drawing = sketch.drawing
    owner = sketch.step("shared", _kept(drawing, shape) if len(shape) > 1 else _kept_vector(drawing, shape))
    if drawing.sometimes(50):
        smaller = {"avg_pool_nd": {"kernel": 2, "ceil_mode": True}}
        sketch.step("between", drawing.pick("relu", smaller) if len(shape) > 1 else "relu")
    sketch.step("again", {"call": owner})


def _block_step(sketch: Sketch, shape: Shape) -> None:
    """A block as a step: a shipped gate, a shipped blur, or one of the spec's own gates."""
    drawing = sketch.drawing
    match drawing.number(0, 3):
        case 0:
            kind = drawing.pick(*SHIPPED_GATES)
            sketch.ship(kind)
            sketch.step("se", {kind: {"reduction": 2, "width": 2} if kind == "squeeze_excite" else {"kernel": 3}})
        case 1 if min(shape[1:]) > 1:
            sketch.ship("blur")
            sketch.step("blur", {"blur": {"stride": drawing.number(1, 2)}})
        case 2:
            sketch.ship("average")
            sketch.step("average", {"average": {"stride": 1 if min(shape[1:]) < 2 else 2}})
        case _:
            sketch.step("gated", own_gate(sketch))


MAPS: tuple[Callable[[Sketch, Shape], None], ...] = (
    *[_convolution] * 6,
    *[_normalized] * 5,
    *[_activation] * 3,
    *[_pool] * 8,
    *[_padded] * 2,
    *[_residual] * 3,
    *[_gate] * 1,
    _broadcast,
    _reduced,
    *[_resized] * 2,
    *[_sliced] * 2,
    *[_again] * 2,
    *[_block_step] * 1,
    *[_transposed] * 2,
    *[_learned] * 2,
    _multiplied,
    _regularized,
    _absent,
    _global_pool,
    _reshaped,
    _flat,
)


VOLUMES: tuple[Callable[[Sketch, Shape], None], ...] = (
    *[_convolution] * 6,
    *[_normalized] * 5,
    *[_activation] * 2,
    *[_pool] * 6,
    *[_padded] * 2,
    *[_residual] * 2,
    *[_gate] * 1,
    _broadcast,
    _reduced,
    _sliced,
    _again,
    _transposed,
    _learned,
    _multiplied,
    _regularized,
    _absent,
    _global_pool,
    _flat,
)


# ---------------------------------------------------------------------------------------------------------------
# Steps for rows and vectors


def _normalized_row(sketch: Sketch, shape: Shape) -> None:
    drawing = sketch.drawing
    epsilon = drawing.pick(*EPSILONS)
    match drawing.number(0, 3):
        case 0:
            norm: Data = {"batch_norm": _batch_norm_fields(drawing, epsilon)}
        case 1:
            norm = {"layer_norm": {"epsilon": epsilon, "axis": drawing.number(0, 1)}}
        case 2:
            norm = {"instance_norm": {"epsilon": epsilon}}
        case _:
            groups = drawing.pick(*(n for n in range(1, shape[0] + 1) if shape[0] % n == 0))
            norm = {"group_norm": {"groups": groups, "epsilon": epsilon}}
    sketch.step("norm", norm)


def _linear(sketch: Sketch, shape: Shape) -> None:
    fields: Data = {"features": sketch.written(sketch.drawing.number(1, 8))}
    if sketch.drawing.sometimes(30):
        fields["bias"] = False
    sketch.step("fc", {"linear": fields})


def _normalized_vector(sketch: Sketch, shape: Shape) -> None:
    own = sketch.drawing.sometimes(80)
    sketch.step("norm", _vector_normalization(sketch.drawing) if own else "norm")


def _vector_normalization(drawing: Drawing) -> Data:
    return {"batch_norm": _batch_norm_fields(drawing, drawing.pick(*EPSILONS)) | _affine(drawing)}


def _kept_vector(drawing: Drawing, shape: Shape) -> Data:
    """A layer that keeps a vector's shape."""
    return _vector_normalization(drawing) if drawing.sometimes(40) else {"linear": {"features": shape[0]}}


def _projected(sketch: Sketch, shape: Shape) -> None:
    """A projection head: linear layers, each but the last with a normalization and an activation."""
    for _ in range(sketch.drawing.number(1, 2)):
        _linear(sketch, shape)
        _normalized_vector(sketch, shape)
        _activation(sketch, shape)
    _linear(sketch, shape)
    if sketch.drawing.sometimes(30):
        _normalized_vector(sketch, shape)


def _softened(sketch: Sketch, shape: Shape) -> None:
    sketch.step("soft", "softmax")


def _joined(sketch: Sketch, shape: Shape) -> None:
    start = sketch.last
    other = sketch.step("bend", sketch.drawing.pick("sigmoid", "relu"))
    sketch.step("join", {_join(sketch.drawing, 2): {}, "from": [start, other]})


ROWS = (
    *[_convolution] * 4,
    *[_pool] * 2,
    *[_normalized_row] * 2,
    *[_multiplied] * 2,
    _padded,
    _transposed,
    _again,
    _residual,
    _gate,
    _global_pool,
    _activation,
    _learned,
    _regularized,
    _joined,
    _broadcast,
    _reduced,
    _sliced,
    *[_reshaped] * 2,
    _flat,
)
VECTORS = (
    *[_linear] * 4,
    *[_normalized_vector] * 2,
    _projected,
    _activation,
    _learned,
    _regularized,
    _joined,
    _broadcast,
    _reduced,
    _sliced,
    _softened,
    _again,
    *[_reshaped] * 2,
    _flat,
)


def _chain(sketch: Sketch, section: str, length: int) -> bool:
    """Draw a section's steps; False where a mistake ended it."""
    sketch.section = section
    for _ in range(length):
        shape = sketch.shape()
        if shape is None:
            return False
        drawn = {1: VECTORS, 2: ROWS, 3: MAPS, 4: VOLUMES}[len(shape)]
        step = sketch.drawing.pick(*drawn)
        if step is _transposed and (max(shape[1:]) > LARGEST_SIDE // 3 or prod(shape) > LARGEST_VALUE):
            step = _pool
        step(sketch, shape)
    return True


# ---------------------------------------------------------------------------------------------------------------
# Blocks


def own_gate(sketch: Sketch) -> str:
    """The name of a gate that the spec defines: means, two layers between, and the product."""
    if sketch.gate is None:
        drawing = sketch.drawing
        sketch.gate = "my_gate"
        main: Data = {
            "pool": drawing.pick("global_avg_pool", "global_max_pool"),
            "down": {"conv2d": {"channels": "width", "kernel": 1, "bias": True}},
            "act": "relu",
            "up": {"conv2d": {"channels": "in_channels", "kernel": 1, "bias": drawing.pick(True, False)}},
            "gate": "sigmoid",
            "scale": {"multiply": {}, "from": ["input", "gate"]},
        }
        sketch.own(sketch.gate, {"parameters": {"width": "in_channels // 2 + 1"}, "main": main})
    return sketch.gate


def _preserving(drawing: Drawing, channels: int | str, stride: str | None) -> Data:
    """A convolution that keeps the size, or divides it by a stride and rounds up."""
    kernel = drawing.pick(3, 1, 5, [1, 3])
    fields: Data = {"channels": channels, "kernel": kernel}
    if stride is not None:
        fields["stride"] = stride
    if isinstance(kernel, list):
        fields["padding"] = drawing.pick([[0, 0], [1, 1]], "same")
    elif kernel > 1:
        fields["padding"] = drawing.pick(kernel // 2, "same")
    elif drawing.sometimes(20):
        fields["padding"] = "same"
    if drawing.sometimes(20):
        fields["bias"] = True
    if stride is None and drawing.sometimes(15):
        fields["dilation"] = 2
        fields["padding"] = "same"
    return {drawing.pick("conv2d", "conv2d", "conv2d", "conv"): fields}


def own_block(sketch: Sketch) -> Data:
    """A residual block of the spec's own, with the parameters channels and stride, and a slot."""
    drawing = sketch.drawing
    main: Data = {}
    before = drawing.sometimes(30)
    if before:
        main |= {"norm0": "norm", "act0": "act"}
    units = drawing.number(1, 2)
    where = drawing.number(1, units)
    for number in range(1, units + 1):
        channels: int | str = "channels" if number == units else drawing.pick(3, "width", "channels", "in_channels")
        pooled = number == where and drawing.sometimes(15)
        stride = "stride" if number == where and not pooled else None
        main[f"conv{number}"] = _preserving(drawing, channels, stride)
        if pooled:
            fields: Data = {
                "kernel": 3,
                "stride": "stride",
                "padding": 1,
                "count_include_pad": drawing.pick(True, False),
            }
            main[f"aa{number}"] = {"avg_pool2d": fields, "when": "stride != 1"}
        shared = number > 1 and channels == "channels" and drawing.sometimes(15)
        if shared and "norm1" in main and main["conv1"] == main[f"conv{number}"]:
            main[f"norm{number}"] = {"call": "norm1"}
        elif not drawing.sometimes(15):
            main[f"norm{number}"] = drawing.pick("norm", "norm", {"norm": {"epsilon": 1e-3}})
        if number < units:
            main[f"act{number}"] = "act"
    main["se"] = "gate"
    if drawing.sometimes(15):
        main["drop"] = drawing.pick({"stochastic_depth": {"rate": 0.2}}, {"dropout": {"rate": 0.5}})
    block: Data = {"parameters": {"channels": "int", "stride": 1, "gate": "none", "width": "channels // 2 + 1"}}
    block["main"] = main
    if not drawing.sometimes(15):
        block["shortcut"] = _shortcut(sketch, "act0" if before and drawing.sometimes(60) else None)
        if drawing.sometimes(15):
            block["join"] = "sum"
        if drawing.sometimes(70):
            block["after"] = {"act": drawing.pick("act", "relu")}
        if drawing.sometimes(15):
            block["declare"] = ["shortcut", "main", "after"]
    return block


def _shortcut(sketch: Sketch, start: str | None) -> Data:
    drawing = sketch.drawing
    origin: Data = {} if start is None else {"from": start}
    changes = "stride != 1 or channels != in_channels"
    match drawing.number(0, 4):
        case 0 | 1:
            layers: Data = {"down.0": {"conv2d": {"channels": "channels", "kernel": 1, "stride": "stride"}}}
            layers |= {"down.1": "norm"} if drawing.sometimes(60) else {}
        case 2:
            kind = drawing.pick(*SHIPPED_PROJECTIONS)
            sketch.ship(kind)
            layers = {"down": {kind: {"channels": "channels", "stride": "stride"}}}
        case 3:
            pool = {"kernel": 1, "stride": "stride"}
            layers = {"pool": {"max_pool2d": pool, "when": "stride != 1"}}
            layers["pad"] = {"pad_channels": {"after": "channels - in_channels"}}
        case _:
            pool = {"kernel": "stride", "stride": "stride", "ceil_mode": True}
            layers = {"pool": {"avg_pool2d": pool}, "conv": {"conv2d": {"channels": "channels", "kernel": 1}}}
    shortcut: Data = {**origin, "layers": layers}
    if not drawing.sometimes(30):
        shortcut["when"] = changes
        if drawing.sometimes(20):
            shortcut["otherwise"] = {"layers": {"same": drawing.pick("relu", {"avg_pool2d": {"kernel": 1}})}}
    return shortcut


def growing_block(sketch: Sketch) -> Data:
    """A decoder's block: a transposed convolution in each of its two branches."""
    drawing = sketch.drawing
    # The output is the stride times the input in each of these.
    wide = drawing.pick(
        {"kernel": 3, "padding": "same"},
        {"kernel": "stride"},
        {"kernel": "stride + 2", "padding": 1},
        {"kernel": "stride + 1", "padding": [[0, 1], [1, 0]]},
    )
    main: Data = {
        "up": {"conv_transpose2d": {"channels": "channels", "stride": "stride", **wide}},
        "norm": "norm",
        "se": "gate",
    }
    narrow = {"channels": "channels", "kernel": drawing.pick(1, 2), "stride": "stride", "padding": "same"}
    return {
        "parameters": {"channels": "int", "stride": 1, "gate": "none"},
        "main": main,
        "shortcut": {"layers": {"side": {"conv_transpose2d": narrow}}},
        "after": {"act": "act"},
    }


def _stage(sketch: Sketch, number: int) -> None:
    drawing = sketch.drawing
    shape = sketch.shape()
    if shape is None or len(shape) != 3:
        if not drawing.sometimes(2):
            return
        shape = (2, 1, 1)
    kind = drawing.pick("my_block", "my_block", "my_block", "grow", *SHIPPED_BLOCKS)
    if kind == "grow" and max(shape[1:]) > LARGEST_SIDE // 3:
        kind = "my_block"
    if kind in SHIPPED_BLOCKS:
        sketch.ship(kind, "conv_projection", "preact_projection")
    elif kind not in sketch.data.get("blocks", {}):
        sketch.own(kind, growing_block(sketch) if kind == "grow" else own_block(sketch))
    repeat = drawing.pick(1, 1, 2)
    name = sketch.name(drawing.pick("layer", "stages."))
    stage: Data = {"block": kind}
    if repeat > 1:
        stage["repeat"] = repeat
    channels = shape[0] if drawing.sometimes(40) else drawing.number(1, 6)
    stage["channels"] = sketch.written(channels)
    if repeat > 1 and drawing.sometimes(20):
        stage["channels"] = [channels, channels + drawing.number(0, 1)]
    if kind in ("bottleneck", "preact_basic_block"):
        stage["width"] = drawing.number(1, 4)
    if kind == "preact_basic_block":
        stage["projection"] = "preact_projection"
    if drawing.sometimes(50):
        stage["stride"] = drawing.pick(2, 2, 3)
        if repeat > 1 and drawing.sometimes(25):
            stage["stride_in"] = "last"
    if kind in ("basic_block", "bottleneck") and drawing.sometimes(25):
        stage["dilation"] = 2
        stage |= {"stride": 1} if not drawing.sometimes(20) else {}
    if kind == "wide_basic_block" and drawing.sometimes(40):
        stage["dropout_rate"] = 0.3
    if kind in ("basic_block", "bottleneck", "preact_basic_block") and drawing.sometimes(15):
        stage["drop_path"] = {"stochastic_depth": {"rate": "0.1 * overall_index"}}
    if kind in ("basic_block", "bottleneck") and drawing.sometimes(15):
        stage["anti_alias"] = drawing.pick("average", "blur")
        sketch.ship("average", "blur")
    slot = {"my_block": "gate", "grow": "gate", "basic_block": "attention", "bottleneck": "attention"}.get(kind)
    if slot and drawing.sometimes(30):
        filled = _filled_slot(sketch)
        stage |= {"first": {slot: filled}} if drawing.sometimes(20) else {slot: filled}
    if drawing.sometimes(10):
        stage["names"] = drawing.pick("{stage}_block{number}_{layer}", "{stage}.unit_{remaining}.{layer}")
    sketch.data.setdefault("stages", {})[name] = stage
    sketch.last = name


def _filled_slot(sketch: Sketch) -> Any:
    match sketch.drawing.number(0, 3):
        case 0:
            return own_gate(sketch)
        case 1:
            sketch.ship("squeeze_excite")
            return {"squeeze_excite": {"reduction": 2, "width": 3}}
        case 2:
            sketch.ship("eca_gate")
            return "eca_gate"
        case _:
            return sketch.drawing.pick("sigmoid", {"filter_response_norm": {"epsilon": 1e-3, "threshold": True}})


# ---------------------------------------------------------------------------------------------------------------
# Whole specs


@st.composite
def specs(draw: Any) -> Data:
    """A spec as plain data; most are valid."""
    drawing = Drawing(draw)
    sketch = Sketch(drawing, _beginning(drawing))
    going = _chain(sketch, "stem", drawing.number(1, 5))
    if len(sketch.data["input"]) == 3:
        for number in range(drawing.number(0, 2)):
            _stage(sketch, number)
    if going and drawing.sometimes(15):
        going = _chain(sketch, "final", 1)
    if going:
        _head(sketch)
    _endings(sketch)
    if drawing.sometimes(8):
        _make_invalid(drawing, sketch.data)
    return sketch.data


def _beginning(drawing: Drawing) -> Data:
    kind, channels = drawing.number(0, 99), drawing.pick(3, 1, 2, 4)
    if kind > 94:
        size: Data = {"features": drawing.number(1, 12)}
    elif kind > 84:
        size = {"channels": channels, "length": drawing.number(5, 40)}
    elif kind > 74:
        size = {"channels": channels}
        size |= {"depth": drawing.number(2, 6), "height": drawing.number(4, 9), "width": drawing.number(4, 9)}
    else:
        size = {"channels": channels, "height": drawing.number(5, 17), "width": drawing.number(5, 17)}
        if drawing.sometimes(10):
            size = size | {"height": drawing.number(1, 4)}
    data: Data = {"input": size, "parameters": {"base": drawing.number(2, 5), "classes": drawing.number(1, 5)}}
    norm = {"batch_norm": _batch_norm_fields(drawing, drawing.pick(*EPSILONS))}
    if drawing.sometimes(15):
        norm = {"group_norm": {"groups": 1, "epsilon": 1e-5}}
    conv = {"conv2d" if len(size) == 3 else "conv_nd": drawing.pick({"padding": "same"}, {"bias": True})}
    data["layers"] = {"norm": norm, "act": drawing.pick("relu", "relu", "silu"), "conv": conv}
    return data


def _head(sketch: Sketch) -> None:
    drawing = sketch.drawing
    sketch.section = "head"
    shape = sketch.shape()
    if shape is None:
        return
    ending = drawing.number(0, 5)
    if ending == 0:
        return
    if len(shape) > 1 and ending < 5:
        if ending < 3 or prod(shape) > 300:
            sketch.step("pool", drawing.pick("global_avg_pool", "global_avg_pool", "global_max_pool"))
            if drawing.sometimes(10):
                return
        sketch.step("flatten", "flatten")
        if drawing.sometimes(20):
            sketch.step("dropout", {"dropout": {"rate": 0.4}})
        if drawing.sometimes(20):
            _projected(sketch, (8,))
        else:
            sketch.step("fc", {"linear": {"features": drawing.pick("classes", 4, "classes + 1")}})
        if drawing.sometimes(25):
            sketch.step("softmax", "softmax")
    else:
        _chain(sketch, "head", drawing.number(1, 3))


def _endings(sketch: Sketch) -> None:
    """The keys of a spec besides its layers."""
    drawing, data = sketch.drawing, sketch.data
    if sketch.last == "input":
        sketch.section = "stem"
        sketch.step("only", "relu")
    names = [name for section in ("stem", "stages", "final", "head") for name in data.get(section, {})]
    if drawing.sometimes(20):
        outputs = [drawing.pick(*names) for _ in range(drawing.number(1, 3))]
        data["outputs"] = outputs
        if drawing.sometimes(40):
            data["named_outputs"] = True
            data["outputs"] = [*dict.fromkeys(outputs)]
    elif drawing.sometimes(4):
        data["outputs"] = "features"
    if drawing.sometimes(5):
        data["folded"] = True
    if drawing.sometimes(3):
        first, *_, last = sketch.known()
        data["require"] = {f"{first} == {last}": "they must be equal"}
    if drawing.sometimes(3):
        rule = {"distribution": drawing.pick("uniform", "truncated_normal"), "scale": 2.0, "fan": "fan_in"}
        data["initialization"] = {drawing.pick("conv_kernel", "linear_kernel", "*.weight"): rule}


ODD_VALUES = (0, -1, 3, 7, 2**21, 1.5, "seven", "base", "same", "1 +", True, None, [1, 2], [], {}, {"relu": {}})


def _make_invalid(drawing: Drawing, data: Data) -> None:
    """Put something else in place of a value, leave a key out, or misspell one."""
    places = [*_places(data)]
    holder, key = drawing.pick(*places)
    match drawing.number(0, 3):
        case 0 | 1:
            holder[key] = drawing.pick(*ODD_VALUES)
        case 2:
            del holder[key]
        case _ if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        case _:
            holder.append(drawing.pick(*ODD_VALUES))


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Each value within plain data, as what holds it and its key, the outermost first."""
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    here = [(data, key) for key in keys]
    return here + [place for _, key in here for place in _places(data[key])]
