"""What several steps of a file state together becomes one step, as a graph states it.

Each pass takes a network and returns one that computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.operations.fields import UNPADDED
from resnet_spec.operations.windows import explicit_padding
from resnet_spec.structure.activation_recognition import recognize_activations
from resnet_spec.structure.affine_folding import CONVOLUTIONS, fold_affine
from resnet_spec.structure.steps import AFFINE, NormalForm, Step, Window
from resnet_spec_onnx.importing.formulas import evo_norm, filter_response_norm

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Edges

SEPARATE = {"scale": "learned_factor", "shift": "learned_term"}
"""Kinds of factors and terms, and what they are called where they are not folded."""

LOWEST = -3e38
"""A pad of values below it is never the maximum of a window."""


def stated(network: NormalForm, initializers: Container[str]) -> NormalForm:
    """Return the network with one step for each operation of the language; other constants are no parameters."""
    for rule in (_group_norm, filter_response_norm, evo_norm):
        network = _rewritten(network, rule)
    network = recognize_activations(_renamed(network, SEPARATE, _is_per_channel))
    network = _renamed(network, {other: kind for kind, other in SEPARATE.items()})
    for rule in (_l2_normalize, _gem_pool):
        network = _rewritten(network, rule)
    network = fold_affine(_separate(network))
    for rule in (_matmul_of_transposed, partial(_matmul_with_factor, initializers)):
        network = _rewritten(network, rule)
    return network


def _renamed(
    network: NormalForm, kinds: Mapping[str, str], applies: Callable[[Step], bool] = lambda step: True
) -> NormalForm:
    """Return the network with other words for some kinds of step."""
    changed = NormalForm(network.steps[0].shape)
    changed.steps = [
        replace(step, kind=kinds[step.kind]) if step.kind in kinds and applies(step) else step for step in network.steps
    ]
    changed.outputs = network.outputs
    return changed


def _is_per_channel(step: Step) -> bool:
    """Whether a constant has a number for each channel, which is no part of an activation even if all are equal."""
    (tensor,) = step.tensors.values()
    # One number of the file was broadcast without a copy.
    return np.asarray(tensor.array).strides != (0,)


def _rewritten(network: NormalForm, rule: Callable[[NormalForm, list[list[int]], int], Step | None]) -> NormalForm:
    """Return the network with the steps that a rule replaces."""
    consumers = network.consumers()
    changed = NormalForm(network.steps[0].shape)
    found = [rule(network, consumers, index) for index in range(len(network.steps))]
    # A rule may change an earlier step, which has another value.
    changed.steps = [
        replace(new, values=step.values) if new else step for step, new in zip(network.steps, found, strict=True)
    ]
    return changed.pruned(network.outputs)


# ---------------------------------------------------------------------------------------------------------------
# Patterns


def _group_norm(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """A normalization of groups, with the scale and the offset per channel that follow it."""
    tensors: dict[str, Any] = {}
    last = index
    for kind, slot, inverse in (("shift", "bias", "negated"), ("scale", "weight", "divided")):
        step = network.steps[last]
        if step.kind == kind and not step.fields[inverse]:
            tensors[slot] = step.tensors[slot]
            (before,) = step.inputs
            if consumers[before] != [last] or before in network.outputs:
                return None
            last = before
    step = network.steps[last]
    if step.kind != "group_norm" or not tensors:
        return None
    return replace(step, tensors=dict(reversed(tensors.items())), source=network.steps[index].source)


def _l2_normalize(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """A value over its norm along an axis, which is at least an epsilon."""
    step = network.steps[index]
    if step.kind != "divide":
        return None
    divided, bound = step.inputs
    clip = network.steps[bound]
    norm = network.steps[clip.inputs[0]] if clip.kind == "clip" else clip
    if norm.kind != "norm" or norm.inputs != (divided,) or clip.fields["maximum"] != float("inf"):
        return None
    axes: Any = norm.fields["axes"]
    if len(axes) != 1:
        return None
    return replace(
        step, kind="l2_normalize", inputs=(divided,), fields={"axis": axes[0], "epsilon": clip.fields["minimum"]}
    )


def _gem_pool(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """The root of the mean of powers."""
    step = network.steps[index]
    found: list[Step] = [step]
    for kind in ("global_average_pool", "power", "clip"):
        found.append(network.steps[found[-1].inputs[0]] if found[-1].inputs else found[-1])
        if found[-1].kind != kind:
            return None
    if step.kind != "root" or found[-1].fields["maximum"] != float("inf"):
        return None
    clip = found[-1]
    return replace(
        step,
        kind="gem_pool",
        inputs=clip.inputs,
        fields={"epsilon": clip.fields["minimum"]},
        tensors=found[2].tensors,
    )


def _matmul_of_transposed(network: NormalForm, consumers: list[list[int]], index: int) -> Step | None:
    """A product of matrices that are transposed before."""
    step = network.steps[index]
    if step.kind != "matmul":
        return None
    rank = int(str(step.fields["rank"]))
    turned = (*range(rank - 2), rank - 1, rank - 2)
    reads = [network.steps[number] for number in step.inputs]
    swaps = [read.kind == "transpose" and read.fields["axes"] == _whole(turned, read) for read in reads]
    if not any(swaps):
        return None
    inputs = zip(step.inputs, reads, swaps, strict=True)
    first, second = swaps
    return replace(
        step,
        inputs=tuple(read.inputs[0] if swap else number for number, read, swap in inputs),
        fields={**step.fields, "transpose_first": first, "transpose_second": second},
    )


def _whole(axes: tuple[int, ...], step: Step) -> tuple[int, ...]:
    return (*axes, *range(len(axes), len(step.shape)))


def _matmul_with_factor(
    initializers: Container[str], network: NormalForm, consumers: list[list[int]], index: int
) -> Step | None:
    """A product with the constant that it, or one of the values, is multiplied by."""
    step = network.steps[index]
    product = index
    factor = 1.0
    if (number := _number(step, initializers)) is not None:
        (product,) = step.inputs
        factor = number
        if consumers[product] != [index] or product in network.outputs:
            return None
    if network.steps[product].kind != "matmul":
        return None
    inputs: list[int] = []
    for read in network.steps[product].inputs:
        number = _number(network.steps[read], initializers) if consumers[read] == [product] else None
        factor *= 1.0 if number is None else number
        inputs.append(read if number is None else network.steps[read].inputs[0])
    fields = {**network.steps[product].fields, "factor": factor}
    return replace(network.steps[product], inputs=tuple(inputs), fields=fields, source=step.source)


def _number(step: Step, initializers: Container[str]) -> float | None:
    """Return the constant number that a step multiplies by."""
    if step.kind != "learned_factor" or _is_per_channel(step):
        return None
    (tensor,) = step.tensors.values()
    number = float(np.asarray(tensor.array)[0])
    if any(name in initializers for name in tensor.names) or (step.fields["divided"] and not number):
        return None
    return 1 / number if step.fields["divided"] else number


# ---------------------------------------------------------------------------------------------------------------
# Factors and terms


def _separate(network: NormalForm) -> NormalForm:
    """Return the network with the factors and terms that are layers by kinds of their own.

    The others are folded: the terms that are a convolution's bias, and folded normalizations, which end in a term. A
    constant that is folded changes the weights, so that the source's own checkpoint no longer has them.
    """
    consumers = network.consumers()
    folded: set[int] = set()
    for index, step in enumerate(network.steps):
        if step.kind in CONVOLUTIONS:
            folded.update(_folded_after(network, consumers, index))
    kept = {id(network.steps[index]) for index in folded}
    return _renamed(network, SEPARATE, lambda step: id(step) not in kept)


def _folded_after(network: NormalForm, consumers: list[list[int]], index: int) -> Sequence[int]:
    """Return the steps after a convolution that are folded into it."""
    chain: list[int] = []
    last = index
    while len(consumers[last]) == 1 and last not in network.outputs:
        (last,) = consumers[last]
        if network.steps[last].kind not in AFFINE:
            break
        chain.append(last)
    steps = [network.steps[number] for number in chain]
    varies = any(step.kind == "scale" and _varies(step) for step in steps)
    while steps and steps[-1].kind == "scale":
        steps.pop()
    if varies and steps and any(step.kind == "scale" and _varies(step) for step in steps):
        return chain[: len(steps)]
    biased = "bias" in network.steps[index].tensors
    return chain[:1] if steps and steps[0].kind == "shift" and not biased else []


def _varies(step: Step) -> bool:
    (tensor,) = step.tensors.values()
    return bool(np.ptp(np.asarray(tensor.array)) != 0)


# ---------------------------------------------------------------------------------------------------------------
# Pads


def with_pads(networks: Sequence[NormalForm]) -> list[NormalForm]:
    """Return one network at several input sizes with the pads that only a window's padding states.

    These are pads whose rows depend on the size as ``same`` does, those by minus infinity, and those of no rows.
    """
    consumers = networks[0].consumers()
    changed = [[*network.steps] for network in networks]
    for index, step in enumerate(networks[0].steps):
        if step.kind != "pad" or step.fields["mode"] != "constant" or step.fields["channels"]:
            continue
        if all(network.steps[index].fields["padding"] == UNPADDED for network in networks):
            for steps in changed:
                _bypass(steps, index, consumers[index])
            continue
        padding = _padding_of(networks, index, consumers[index])
        for reader in consumers[index] if padding is not None else ():
            for steps in changed:
                window: Any = steps[reader].fields["window"]
                fields = {**steps[reader].fields, "window": window._replace(padding=padding)}
                if steps[reader].kind == "average_pool":
                    fields["count_include_pad"] = True
                steps[reader] = replace(steps[reader], fields=fields)
                _bypass(steps, index, [reader])
    return [_of(steps, network.outputs) for steps, network in zip(changed, networks, strict=True)]


def _bypass(steps: list[Step], index: int, readers: Iterable[int]) -> None:
    """Let the readers of a step read its input instead."""
    (before,) = steps[index].inputs
    for reader in readers:
        inputs = tuple(before if read == index else read for read in steps[reader].inputs)
        steps[reader] = replace(steps[reader], inputs=inputs)


def _padding_of(networks: Sequence[NormalForm], index: int, readers: Iterable[int]) -> Any:
    """Return the padding that replaces a pad, None if it is to stay."""
    pads = [network.steps[index] for network in networks]
    windows = [network.steps[reader] for network in networks for reader in readers]
    lowest = float(str(pads[0].fields["value"])) <= LOWEST
    kinds = ("max_pool",) if lowest else ("convolution", "average_pool")
    if not windows or any(step.kind not in kinds or _window(step).padding != UNPADDED for step in windows):
        return None
    edges = {pad.fields["padding"] for pad in pads}
    if len(edges) == 1 and lowest:
        return pads[0].fields["padding"]
    same = all(
        pad.fields["padding"] == _same(network.steps[pad.inputs[0]].shape[1:], _window(network.steps[reader]))
        for network, pad in zip(networks, pads, strict=True)
        for reader in readers
    )
    return "same" if len(edges) > 1 and same and pads[0].fields["value"] in (0, float("-inf")) else None


def _same(sizes: Sequence[int], window: Window) -> Edges:
    return explicit_padding(sizes, window.kernel, window.stride, "same", window.dilation)


def _window(step: Step) -> Window:
    window: Any = step.fields["window"]
    return window


def _of(steps: list[Step], outputs: Sequence[int]) -> NormalForm:
    network = NormalForm(steps[0].shape)
    network.steps = steps
    return network.pruned(outputs)
