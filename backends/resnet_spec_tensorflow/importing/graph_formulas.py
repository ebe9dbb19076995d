"""Reads what several nodes of a TensorFlow graph compute together, which patterns find, as one operation."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec_tensorflow.importing.graph_def import Constant, layer_name, owner_name
from resnet_spec_tensorflow.importing.graph_patterns import PARTS, PatternNode, Value
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor


@READERS.register(*(f"tf.{kind}" for kind in PARTS))
def _part(context: Context) -> None:
    return context.problem("the spec language has no such operation")


@READERS.register("tf.Gelu", "tf.GeluTanh")
def _gelu(context: Context) -> Tensor | None:
    return context.elementwise("gelu", approximate=context.layer.kind == "GeluTanh")


@READERS.register("tf.HardSwish")
def _hard_swish(context: Context) -> Tensor | None:
    return context.elementwise("hard_swish")


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
        name=valid_name(owner_name(stored).removesuffix("/alpha")),
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
    gate = "v" in node.found
    if gate:
        arrays["v"] = _vector(node.found["v"])
    fields = {"groups": int(shape.array[-2]), "epsilon": _epsilon(node), "gate": gate}
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
    name = valid_name(owner_name(power).removesuffix("/p"))
    return context.add("gem_pool", tensor.value, tensor.axes, name=name, arrays=arrays, epsilon=_epsilon(node))
