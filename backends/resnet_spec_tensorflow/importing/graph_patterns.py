"""Finds in TensorFlow's graphs what one layer computes by several nodes, as Keras and this backend write them.

Each pattern that is found becomes one call; the nodes within it go, unless something else reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, pi, sqrt
from typing import Any, TypeAlias

import numpy as np

from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.importing.calls import Call, Ref
from resnet_spec_tensorflow.importing.graph_attributes import SAME
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode

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


def _evo(*, gate: bool) -> Pattern:
    normalized: Pattern = ("Reshape", ("Mul", GROUPED, SCALE), "=back")
    return _plus(("Mul", ("Mul", normalized, GATE) if gate else normalized, "=scale"), "=offset")


NORM: Pattern = ("Sqrt", ("Maximum", ("Sum", ("Square", "x"), "=axes"), "=bound"))
POWERS: Pattern = ("Mean", ("Pow", ("Maximum", "x", "=epsilon"), "=p"), "=axes")

INTERPOLATED: Pattern = _plus(
    ("Mul", ("GatherV2", "x", "=lower", "=axis"), "=less"), ("Mul", ("GatherV2", "x", "=upper", "=axis2"), "=more")
)

CUBE: Pattern = ("Mul", ("Mul", ("Mul", "x", "x"), "x"), "=cubic")

ABOVE: Pattern = ("Greater", "x", "=zero")

HALF: Pattern = ("Mul", "=half", "x")

PATTERNS: Mapping[str, Sequence[Pattern]] = {
    "Normalized": [_normalized(scale=scale, offset=offset) for scale in (True, False) for offset in (True, False)],
    "FilterResponseNormalized": [_filter_response(threshold=threshold) for threshold in (True, False)],
    "EvoNormalized": [_evo(gate=gate) for gate in (True, False)],
    "L2Normalized": [("RealDiv", "x", NORM)],
    "GeneralizedMean": [("Pow", POWERS, "=root_of_p")],
    "Interpolated": [INTERPOLATED],
    "LastAxis": [("Reshape", ("MatMul", ("Reshape", "x", "=flat"), "=kernel"), "=shape")],
    "Gelu": [
        ("Mul", HALF, ("Erfc", ("Mul", ("Neg", "x"), "=root"))),
        ("Mul", HALF, _plus("=one", ("Erf", ("Mul", "x", "=root")))),
        ("Mul", HALF, _plus("=one", ("Erf", ("RealDiv", "x", "=divisor")))),
        ("Mul", ("Mul", "x", _plus("=one", ("Erf", ("Mul", "x", "=root")))), "=half"),
    ],
    "GeluTanh": [
        ("Mul", HALF, _plus("=one", ("Tanh", ("Mul", "=root", _plus("x", ("Mul", "=cubic", ("Pow", "x", "=power"))))))),
        ("Mul", ("Mul", "x", _plus("=one", ("Tanh", ("Mul", _plus("x", CUBE), "=root")))), "=half"),
    ],
    "HardSwish": [("Mul", "x", ("RealDiv", ("Relu6", _plus("x", "=three")), "=six"))],
    "Mish": [("Mul", "x", ("Tanh", ("Softplus", "x")))],
    "EluAlpha": [("SelectV2", ABOVE, ("Elu", "x"), ("Mul", "=alpha", ("Elu", "x")))],
    "Leaky": [("SelectV2", ABOVE, "x", ("Mul", "=alpha", "x"))],
    "PRelu": [_plus(("Relu", "x"), ("Mul", "=slope", ("Relu", ("Neg", "x"))))],
}

NUMBERS: Mapping[str, float] = {
    "zero": 0, "half": 0.5, "one": 1, "divisor": sqrt(2), "cubic": 0.044715, "power": 3, "three": 3, "six": 6,
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
        if found is None and kind in RULES:
            found = RULES[kind](call, made)
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
    if conv is None or conv.operation.kind not in ("Conv2D", "Conv3D", "DepthwiseConv2dNative"):
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
        or not node.attribute("data_format", "NHWC").endswith("C")
    ):
        return None
    # Rows that are appended for the number of remainders alone are cropped again.
    padding = edges - crops
    if not np.array_equal(block, back) or crops[:, 0].any() or padding.min() < 0:
        return None
    if len(block) != len(conv.outputs[0].shape) - 2:
        return None
    attributes = {key: node.attributes[key] for key in ("strides", "data_format") if key in node.attributes}
    attributes["dilations"] = _attribute([1, *map(int, block), 1])
    attributes["explicit_paddings"] = _attribute([0, 0, *map(int, padding.reshape(-1)), 0, 0])
    attributes["padding"] = tf.compat.v1.AttrValue(s=b"EXPLICIT" if padding.any() else b"VALID")
    x = spread.inputs[0]
    return Call(GraphNode(node.name, node.kind, attributes, [x, *node.values[1:]]), conv.name, [x], {}, call.outputs)


def _of_signal(call: Call, made: Mapping[int, Call]) -> Call | None:
    """A convolution of a signal, of which Keras makes one of a map of one row."""
    conv = made.get(id(call.inputs[0])) if call.inputs else None
    if conv is None or conv.operation.kind != "Conv2D" or len(call.outputs[0].shape) != 3:
        return None
    node: GraphNode = conv.operation
    wide = made.get(id(conv.inputs[0])) if conv.inputs else None
    kernel = node.values[1]
    if wide is None or wide.operation.kind != "ExpandDims" or not isinstance(kernel, Constant):
        return None
    (x,) = wide.inputs
    if kernel.op != "ExpandDims" or wide.outputs[0].shape[1] != 1 or len(x.shape) != 3:
        return None
    return Call(
        GraphNode(node.name, "Conv1D", node.attributes, [x, kernel.inputs[0]]), conv.name, [x], {}, call.outputs
    )


RULES: Mapping[str, Callable[[Call, Mapping[int, Call]], Call | None]] = {
    "Reshape": _grouped,
    "BatchToSpaceND": _dilated,
    "Squeeze": _of_signal,
}
"""By the last node of several: what finds them."""


def _attribute(numbers: Sequence[int]) -> Any:
    return tf.compat.v1.AttrValue(list=tf.compat.v1.AttrValue.ListValue(i=numbers))
