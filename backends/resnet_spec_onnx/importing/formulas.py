"""Normalizations that ONNX has no node for, recognized by the formula that their nodes write: FRN and EvoNorm-S0.

Each rule takes a network, the readers of its steps and the index of a step, and returns the step that replaces it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from resnet_spec.structure.steps import NormalForm, Step, Tensor


def filter_response_norm(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """x / sqrt(mean(x²) + epsilon) · scale + offset, and the larger of that and a threshold."""
    step = network.steps[index]
    last, tensors = index, dict[str, Tensor]()
    if step.kind == "learned_bound":
        (last,), tensors = step.inputs, {"tau": step.tensors["tau"]}
    elif any(network.steps[reader].kind == "learned_bound" for reader in consumers[index]):
        return None
    scaled = _scaled(network, last)
    ratio = scaled and _over_root(network, scaled[0])
    if scaled is None or ratio is None:
        return None
    divided, squared, axes, epsilon = ratio
    if divided != squared or axes != tuple(range(1, len(step.shape))):
        return None
    fields = {"epsilon": epsilon, "threshold": bool(tensors)}
    return replace(
        step, kind="filter_response_norm", inputs=(divided,), fields=fields, tensors={**scaled[1], **tensors}
    )


def evo_norm(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """x · sigmoid(v · x) over the deviation of each group, · scale + offset; the sigmoid may be missing."""
    scaled = _scaled(network, index)
    if scaled is None:
        return None
    product = network.steps[scaled[0]]
    found, tensors = _grouped(network, scaled[0]), scaled[1]
    if product.kind == "multiply":
        for normalized, gate in (product.inputs, product.inputs[::-1]):
            ratio, v = _grouped(network, normalized), _gated(network, gate)
            if ratio is not None and v is not None and ratio[0] == v[0]:
                found, tensors = ratio, {**scaled[1], "v": v[1]}
    if found is None:
        return None
    x, groups, epsilon = found
    fields = {"groups": groups, "epsilon": epsilon, "gate": "v" in tensors}
    return replace(network.steps[index], kind="evo_norm_s0", inputs=(x,), fields=fields, tensors=tensors)


def _scaled(network: NormalForm, index: int) -> tuple[int, dict[str, Tensor]] | None:
    """What is multiplied by a number per channel, to which another is added, and both."""
    shift = network.steps[index]
    if shift.kind != "shift" or shift.fields["negated"]:
        return None
    scale = network.steps[shift.inputs[0]]
    if scale.kind != "scale" or scale.fields["divided"]:
        return None
    return scale.inputs[0], {"weight": scale.tensors["weight"], "bias": shift.tensors["bias"]}


def _over_root(network: NormalForm, index: int) -> tuple[int, int, Any, float] | None:
    """y and z, the axes and the epsilon of y / sqrt(mean(z²) + epsilon)."""
    ratio = network.steps[index]
    if ratio.kind not in ("divide", "multiply"):
        return None
    kind = "root" if ratio.kind == "divide" else "reciprocal_root"
    divided, divisor = ratio.inputs
    if network.steps[divisor].kind != kind and kind != "root":
        divided, divisor = divisor, divided
    root = network.steps[divisor]
    if root.kind != kind:
        return None
    shift = network.steps[root.inputs[0]]
    epsilon = _number(shift)
    mean = network.steps[shift.inputs[0]]
    square = network.steps[mean.inputs[0]] if mean.inputs else mean
    if epsilon is None or mean.kind != "mean" or square.kind != "multiply" or len({*square.inputs}) != 1:
        return None
    return divided, square.inputs[0], mean.fields["axes"], epsilon


def _number(shift: Step) -> float | None:
    """The one number that a step adds."""
    if shift.kind != "shift" or shift.fields["negated"]:
        return None
    (tensor,) = shift.tensors.values()
    array = np.asarray(tensor.array)
    return None if np.ptp(array) else float(array.flat[0])


def _grouped(network: NormalForm, index: int) -> tuple[int, int, float] | None:
    """x, the groups and the epsilon, if a value is x over the deviation of each group of its channels."""
    back = network.steps[index]
    ratio = _over_root(network, back.inputs[0]) if back.kind == "reshape" else None
    if ratio is None:
        return None
    rows, centered, axes, epsilon = ratio
    made, less = network.steps[rows], network.steps[centered]
    if made.kind != "reshape" or less.kind != "subtract" or less.inputs[0] != rows or not _is_whole(axes, made):
        return None
    mean = network.steps[less.inputs[1]]
    x = network.steps[made.inputs[0]]
    if mean.kind != "mean" or mean.inputs != (rows,) or mean.fields["axes"] != axes or x.shape != back.shape:
        return None
    return made.inputs[0], made.shape[0], epsilon


def _is_whole(axes: tuple[int, ...], step: Step) -> bool:
    """Whether axes are all that a value has after the first, but for those of size 1."""
    longer = {axis for axis, size in enumerate(step.shape) if axis and size != 1}
    return longer <= {*axes} and 0 not in axes


def _gated(network: NormalForm, index: int) -> tuple[int, Tensor] | None:
    """x and v of sigmoid(v · x)."""
    sigmoid = network.steps[index]
    scale = network.steps[sigmoid.inputs[0]] if sigmoid.kind == "sigmoid" else sigmoid
    if scale.kind != "scale" or scale.fields["divided"]:
        return None
    return scale.inputs[0], scale.tensors["weight"]
