"""Finds in TensorFlow's graphs what Keras' layers make of several nodes: normalizations, GELU, Mish and PReLU.

Each pattern that is found becomes one call; the nodes within it go, unless something else reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, pi, sqrt
from typing import Any, TypeAlias

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.importing.calls import Call, Ref
from resnet_spec_tensorflow.importing.graph_attributes import SAME
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode, layer_name, owner_name
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor

Value: TypeAlias = "Ref | Constant"
Found: TypeAlias = "Mapping[str, Value]"

Pattern: TypeAlias = "str | tuple[str, *tuple[Pattern, ...]]"
"""A word for any value, with ``=`` before it for a constant; or a node's kind and what its inputs are."""

PARTS = (
    "BatchToSpaceND",
    "Erf",
    "Erfc",
    "Greater",
    "Neg",
    "Pow",
    "Rsqrt",
    "SelectV2",
    "SpaceToBatchND",
    "Sqrt",
    "Square",
    "SquaredDifference",
)
"""Nodes that are read as a part of a pattern only."""

COMMUTATIVE = ("Add", "AddV2", "Mul")


@dataclass(eq=False)
class PatternNode(GraphNode):
    """Several nodes as one; ``found`` has the values of the pattern's words."""

    found: Found = field(default_factory=dict[str, Value])
    groups: int = 1

    @property
    def axes(self) -> list[int]:
        """The axes along which a normalization takes its mean."""
        value = self.found["axes"]
        return [int(axis) for axis in value.array.reshape(-1)] if isinstance(value, Constant) else []

    def number(self, word: str) -> float:
        """A constant of one number."""
        value = self.found[word]
        return float(value.array.reshape(-1)[0]) if isinstance(value, Constant) and value.array.size == 1 else np.nan


def _plus(one: Pattern, other: Pattern) -> Pattern:
    return ("AddV2", one, other)


MEAN: Pattern = ("Mean", "x", "=axes")
ROOT: Pattern = ("Rsqrt", _plus(("Mean", ("SquaredDifference", "x", MEAN), "=axes2"), "=epsilon"))


def _normalized(*, scale: bool, offset: bool) -> Pattern:
    factor: Pattern = ("Mul", ROOT, "=scale") if scale else ROOT
    shift: Pattern = ("Mul", ("Neg", MEAN), factor)
    return _plus(("Mul", "x", factor), _plus(shift, "=offset") if offset else shift)


def _filter_response(*, threshold: bool) -> Pattern:
    root: Pattern = ("Rsqrt", _plus(("Mean", ("Square", "x"), "=axes"), "=epsilon"))
    outputs = _plus(("Mul", ("Mul", "x", root), "=scale"), "=offset")
    return ("Maximum", outputs, "=tau") if threshold else outputs


GROUPED: Pattern = ("Reshape", "x", "=groups")
CENTERED: Pattern = ("Sub", GROUPED, ("Mean", GROUPED, "=axes"))
SCALE: Pattern = ("Rsqrt", _plus(("Mean", ("Square", CENTERED), "=axes2"), "=epsilon"))
GATE: Pattern = ("Sigmoid", ("Mul", "=v", "x"))
EVO: Pattern = _plus(("Mul", ("Mul", ("Reshape", ("Mul", GROUPED, SCALE), "=back"), GATE), "=scale"), "=offset")

NORM: Pattern = ("Sqrt", ("Maximum", ("Sum", ("Square", "x"), "=axes"), "=bound"))
POWERS: Pattern = ("Mean", ("Pow", ("Maximum", "x", "=epsilon"), "=p"), "=axes")

ABOVE: Pattern = ("Greater", "x", "=zero")

HALF: Pattern = ("Mul", "=half", "x")

PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "Normalized": [_normalized(scale=scale, offset=offset) for scale in (True, False) for offset in (True, False)],
    "FilterResponseNormalized": [_filter_response(threshold=threshold) for threshold in (True, False)],
    "EvoNormalized": [EVO],
    "L2Normalized": [("RealDiv", "x", NORM)],
    "GeneralizedMean": [("Pow", POWERS, "=root_of_p")],
    "Gelu": [
        ("Mul", HALF, ("Erfc", ("Mul", ("Neg", "x"), "=root"))),
        ("Mul", HALF, _plus("=one", ("Erf", ("Mul", "x", "=root")))),
        ("Mul", HALF, _plus("=one", ("Erf", ("RealDiv", "x", "=divisor")))),
    ],
    "GeluTanh": [
        ("Mul", HALF, _plus("=one", ("Tanh", ("Mul", "=root", _plus("x", ("Mul", "=cubic", ("Pow", "x", "=power"))))))),
    ],
    "Mish": [("Mul", "x", ("Tanh", ("Softplus", "x")))],
    "EluAlpha": [("SelectV2", ABOVE, ("Elu", "x"), ("Mul", "=alpha", ("Elu", "x")))],
    "Leaky": [("SelectV2", ABOVE, "x", ("Mul", "=alpha", "x"))],
    "PRelu": [_plus(("Relu", "x"), ("Mul", "=slope", ("Relu", ("Neg", "x"))))],
}

NUMBERS: Mapping[str, float] = {
    "zero": 0, "half": 0.5, "one": 1, "divisor": sqrt(2), "cubic": 0.044715, "power": 3,
}  # fmt: skip
"""What the constants of patterns must be."""

ROOTS = {"Gelu": sqrt(0.5), "GeluTanh": sqrt(2 / pi)}


def with_patterns(calls: Sequence[Call]) -> list[Call]:
    """The calls with each pattern as one call."""
    made = {id(ref): call for call in calls for ref in call.outputs}
    last = {pattern[0] for patterns in PATTERNS.values() for pattern in patterns}
    result: list[Call] = []
    for call in calls:
        kind = getattr(call.operation, "kind", "")
        found = _first(call, made) if kind in last or kind == "Add" else None
        if found is None and kind in ("Reshape", "BatchToSpaceND"):
            found = (_grouped if kind == "Reshape" else _dilated)(call, made)
        result.append(call if found is None else found)
    return result


def _first(call: Call, made: Mapping[int, Call]) -> Call | None:
    for kind, patterns in PATTERNS.items():
        for pattern in patterns:
            for found in _matches(pattern, call.outputs[0], {}, made):
                node = PatternNode(call.operation.name, kind, {}, [*found.values()], found=found)
                x = found["x"]
                if _fits(node) and isinstance(x, Ref):
                    return Call(node, call.name, [x], {}, call.outputs)
    return None


def _fits(node: PatternNode) -> bool:
    wanted = {**NUMBERS} | ({"root": ROOTS[node.kind]} if node.kind in ROOTS else {})
    return all(isclose(node.number(word), wanted[word], rel_tol=1e-6) for word in node.found if word in wanted)


def _matches(pattern: Pattern, value: Value, found: Found, made: Mapping[int, Call]) -> Iterator[Found]:
    """Every way in which a value is what a pattern says, given what its words stand for already."""
    call = made.get(id(value))
    while call is not None and call.operation.kind in SAME:
        value = call.inputs[0]
        call = made.get(id(value))
    if isinstance(pattern, str):
        word = pattern.removeprefix("=")
        if isinstance(value, Constant) == pattern.startswith("=") and found.get(word, value) is value:
            yield {**found, word: value}
        return
    kind, *parts = pattern
    if (
        call is None
        or not isinstance(call.operation, GraphNode)
        or call.operation.kind.replace("AddV2", "Add") != (kind.replace("AddV2", "Add"))
    ):
        return
    values = call.operation.values
    orders = [values, values[::-1]] if kind in COMMUTATIVE else [values]
    for order in orders:
        if len(order) == len(parts):
            yield from _all_match([*zip(parts, order, strict=True)], found, made)


def _all_match(pairs: Sequence[tuple[Pattern, Value]], found: Found, made: Mapping[int, Call]) -> Iterator[Found]:
    if not pairs:
        yield found
        return
    (pattern, value), *rest = pairs
    for more in _matches(pattern, value, found, made):
        yield from _all_match(rest, more, made)


def _grouped(call: Call, made: Mapping[int, Call]) -> Call | None:
    """A group normalization: a map with its channels in groups, normalized, and reshaped as it was."""
    inner = made.get(id(call.inputs[0])) if call.inputs else None
    inner = inner and _first(inner, made)
    if inner is None or inner.operation.kind != "Normalized":
        return None
    shaped = made.get(id(inner.inputs[0]))
    if shaped is None or shaped.operation.kind != "Reshape":
        return None
    x, groups = shaped.inputs[0], shaped.outputs[0].shape
    one: PatternNode = inner.operation
    rank = len(groups)
    if x.shape != call.outputs[0].shape or rank != len(x.shape) + 1 or groups[1:-2] != x.shape[1:-1]:
        return None
    if sorted(axis % rank for axis in one.axes) != [*range(1, rank - 2), rank - 1]:
        return None
    node = PatternNode(one.name, "GroupNormalized", {}, one.values, found=one.found, groups=groups[-2])
    return Call(node, call.name, [x], {}, call.outputs)


def _dilated(call: Call, made: Mapping[int, Call]) -> Call | None:
    """A dilated convolution, of which TensorFlow makes plain ones of the positions of each remainder."""
    conv = made.get(id(call.inputs[0])) if call.inputs else None
    if conv is None or conv.operation.kind not in ("Conv2D", "DepthwiseConv2dNative"):
        return None
    spread = made.get(id(conv.inputs[0])) if conv.inputs else None
    if spread is None or spread.operation.kind != "SpaceToBatchND":
        return None
    node: GraphNode = conv.operation
    block, edges = (spread.operation.constant(index) for index in (1, 2))
    back, crops = (call.operation.constant(index) for index in (1, 2))
    plain = node.attribute("padding") == "VALID" and max(node.attribute("strides")) == 1
    if (
        block is None
        or edges is None
        or back is None
        or crops is None
        or not plain
        or node.attribute("data_format", "NHWC") != "NHWC"
    ):
        return None
    # Rows that are appended for the number of remainders alone are cropped again.
    padding = edges - crops
    if len(block) != 2 or not np.array_equal(block, back) or crops[:, 0].any() or padding.min() < 0:
        return None
    attributes = {key: node.attributes[key] for key in ("strides", "data_format") if key in node.attributes}
    attributes["dilations"] = _attribute([1, *map(int, block), 1])
    attributes["explicit_paddings"] = _attribute([0, 0, *map(int, padding.reshape(-1)), 0, 0])
    attributes["padding"] = tf.compat.v1.AttrValue(s=b"EXPLICIT" if padding.any() else b"VALID")
    x = spread.inputs[0]
    return Call(GraphNode(node.name, node.kind, attributes, [x, *node.values[1:]]), conv.name, [x], {}, call.outputs)


def _attribute(numbers: Sequence[int]) -> Any:
    return tf.compat.v1.AttrValue(list=tf.compat.v1.AttrValue.ListValue(i=numbers))


# -- readers -----------------------------------------------------------------------------------------------------------


@READERS.register(*(f"tf.{kind}" for kind in PARTS))
def _part(context: Context) -> None:
    return context.problem("the spec language has no such operation")


@READERS.register("tf.Gelu", "tf.GeluTanh")
def _gelu(context: Context) -> Tensor | None:
    return context.elementwise("gelu", approximate=context.layer.kind == "GeluTanh")


@READERS.register("tf.Mish")
def _mish(context: Context) -> Tensor | None:
    return context.elementwise("mish")


@READERS.register("tf.EluAlpha")
def _elu(context: Context) -> Tensor | None:
    return context.elementwise("elu", alpha=float(str(np.float32(context.layer.number("alpha")))))


@READERS.register("tf.Leaky")
def _leaky_relu(context: Context) -> Tensor | None:
    return context.elementwise("leaky_relu", slope=float(str(np.float32(context.layer.number("alpha")))))


@READERS.register("tf.PRelu")
def _prelu(context: Context) -> Tensor | None:
    constant = context.layer.found["slope"]
    tensor = context.first(context.tensor)
    slope = -np.asarray(constant.array, np.float32).reshape(-1)
    # Its inner axes are 1 if all positions share a slope.
    if (
        tensor is None
        or constant.array.size != constant.array.shape[-1]
        or slope.size not in (1, tensor.value.shape[0])
    ):
        return tensor and context.problem("has a slope for each position, which the language lacks")
    stored = constant.inputs[0] if constant.op == "Neg" else constant
    context.layer.owner = stored
    return context.add(
        "prelu",
        tensor.value,
        tensor.axes,
        name=valid_name(owner_name(stored)),
        arrays={"weight": slope + 0.0},
        per_channel=slope.size > 1,
    )


def _affine(node: PatternNode) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a normalization by slot, and its name."""
    slots = {"weight": node.found.get("scale"), "bias": node.found.get("offset")}
    arrays: dict[str, np.ndarray] = {}
    name = valid_name(layer_name(node.name))
    for slot, value in reversed(slots.items()):
        if isinstance(value, Constant):
            stored = value.inputs[0] if value.op == "Reshape" else value
            node.owner, name = stored, valid_name(owner_name(stored))
            arrays[slot] = np.array(stored.array.reshape(-1), np.float32)
    return arrays, name


def _epsilon(node: PatternNode) -> float:
    # The number that is this one in float32.
    return float(str(np.float32(node.number("epsilon"))))


@READERS.register("tf.Normalized")
def _layer_norm(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    axes = node.axes
    if len(axes) != 1 or (place := context.axis(axes[0])) is None:
        return context.problem("normalizes along several axes; the language's operation has one")
    arrays, name = _affine(node)
    fields = {"scale": "weight" in arrays, "offset": "bias" in arrays}
    return context.add(
        "layer_norm",
        context.tensor.value,
        context.tensor.axes,
        name=name,
        arrays=arrays,
        axis=place,
        epsilon=_epsilon(node),
        **fields,
    )


@READERS.register("tf.GroupNormalized")
def _group_norm(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    arrays, name = _affine(node)
    tensor = context.first(context.tensor)
    if tensor is None:
        return None
    fields = {"scale": "weight" in arrays, "offset": "bias" in arrays}
    if node.groups == tensor.value.shape[0]:
        return context.add(
            "instance_norm", tensor.value, tensor.axes, name=name, arrays=arrays, epsilon=_epsilon(node), **fields
        )
    return context.add(
        "group_norm",
        tensor.value,
        tensor.axes,
        name=name,
        arrays=arrays,
        groups=node.groups,
        epsilon=_epsilon(node),
        **fields,
    )


def _positions(node: PatternNode, rank: int) -> bool:
    """Whether a mean is one over all positions of a map, channels last."""
    return sorted(axis % rank for axis in node.axes) == [*range(1, rank - 1)]


def _vector(value: Value) -> np.ndarray:
    """A pattern's constant as a vector in float32."""
    return np.array(value.array.reshape(-1) if isinstance(value, Constant) else (), np.float32)


@READERS.register("tf.FilterResponseNormalized")
def _filter_response_norm(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    arrays, name = _affine(node)
    tensor = context.first(context.tensor)
    if tensor is None or not _positions(node, len(tensor.axes) + 1):
        return tensor and context.problem("divides by a mean square of other axes than those of positions")
    threshold = "tau" in node.found
    if threshold:
        arrays["tau"] = _vector(node.found["tau"])
    fields = {"epsilon": _epsilon(node), "threshold": threshold}
    return context.add("filter_response_norm", tensor.value, tensor.axes, name=name, arrays=arrays, **fields)


@READERS.register("tf.EvoNormalized")
def _evo_norm(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    arrays, name = _affine(node)
    tensor = context.first(context.tensor)
    rank = len(context.tensor.axes) + 2
    shape = node.found["groups"]
    if tensor is None or not isinstance(shape, Constant):
        return None
    whole = sorted(axis % rank for axis in node.axes) == [*range(1, rank - 2), rank - 1]
    if not whole or shape.array.size != rank:
        return context.problem("divides by a deviation of other axes than those of a group")
    arrays["v"] = _vector(node.found["v"])
    fields = {"groups": int(shape.array[-2]), "epsilon": _epsilon(node)}
    return context.add("evo_norm_s0", tensor.value, tensor.axes, name=name, arrays=arrays, **fields)


@READERS.register("tf.L2Normalized")
def _l2_normalize(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    axes = node.axes
    if len(axes) != 1 or (place := context.axis(axes[0])) is None:
        return context.problem("divides by a norm of several axes; the language's operation has one")
    epsilon = float(str(np.float32(sqrt(max(node.number("bound"), 0)))))
    return context.add("l2_normalize", context.tensor.value, context.tensor.axes, axis=place, epsilon=epsilon)


@READERS.register("tf.GeneralizedMean")
def _gem_pool(context: Context) -> Tensor | None:
    node: PatternNode = context.layer
    tensor = context.first(context.tensor)
    power = node.found["p"]
    if tensor is None or not isinstance(power, Constant):
        return None
    if not _positions(node, len(tensor.axes) + 1) or not isclose(
        node.number("p") * node.number("root_of_p"), 1, rel_tol=1e-5
    ):
        return context.problem("is a mean of powers whose root is another")
    node.owner = power
    arrays = {"p": _vector(power)}
    name = valid_name(owner_name(power))
    return context.add("gem_pool", tensor.value, tensor.axes, name=name, arrays=arrays, epsilon=_epsilon(node))
