"""Matches named arrays with a graph's parameters one to one, or reports every difference."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.checkpoint import narrow_bfloat16, widen_bfloat16
from resnet_spec.errors import Problem, WeightsError, listed
from resnet_spec.operations import BIASES, KERNELS, MEANS, OFFSETS, SCALES, STATISTICS, VARIANCES
from resnet_spec.optimization.folding import fold
from resnet_spec.weights.adapting import (
    BACKGROUND,
    COLORS,
    beyond_backbone,
    first_kernels,
    head_parameters,
    is_counter,
    other_width,
)
from resnet_spec.weights.renames import likely_renames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

    Tensors = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)

PYTORCH_AXES = "output channels, input channels, height, width"

NORMALIZATION = {*SCALES, *OFFSETS, *MEANS, *VARIANCES}
"""Roles of a normalization's parameters."""

_FACTOR = re.compile(r"[./]parametrizations[./]|_(?:orig|[guv])$|(?:^|[./])lora_|[./]base_layer[./]")
"""Parts of the names of tensors of which PyTorch's parametrizations and LoRA make a weight."""


def check_weights(graph: Graph, arrays: Tensors, source: str) -> dict[str, NDArray[Any]]:
    """The arrays in the graph's order; raises WeightsError unless they match its parameters one to one."""
    wanted = {parameter.name: parameter.shape for parameter in graph.parameters()}
    given = {name: array for name, array in arrays.items() if not is_counter(name)}
    missing = {name: shape for name, shape in wanted.items() if name not in given}
    unexpected = {name: array.shape for name, array in given.items() if name not in wanted}
    # A factor of a weight is not the weight, though its name and shape are nearly the same.
    factors = {name for name in unexpected if _FACTOR.search(name)}
    guesses = likely_renames(missing, {name: shape for name, shape in unexpected.items() if name not in factors})
    meant = {guess: name for name, guess in guesses.items()}
    problems = [Problem(f"missing{_did_you_mean(guesses.get(name))}", name) for name in missing]
    problems += [Problem(f"unexpected{_did_you_mean(meant.get(name))}", name) for name in unexpected]
    checked = {name: given[name] for name in wanted if name in given}
    wrong = [problem for name, array in checked.items() for problem in _misfits(name, array, wanted[name])]
    if not problems and not wrong:
        return checked
    counts = {"missing": len(missing), "unexpected": len(unexpected), "mismatched": len(wrong)}
    summary = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    head = Problem(f"{source}: not the {len(wanted)} tensors of {graph.name} ({summary})")
    shapes = {name: array.shape for name, array in given.items()}
    hints = [*_hints(graph, shapes), *_hint_at_factors(factors)]
    raise WeightsError([head, *problems, *wrong, *map(Problem, hints)])


def _misfits(name: str, array: NDArray[Any], shape: Shape) -> Iterator[Problem]:
    if array.shape != shape:
        yield Problem(f"has shape {list(array.shape)}, not {list(shape)}", name)
    elif array.dtype.kind != "f":
        yield Problem(f"holds {array.dtype}, not floating-point numbers", name)


def _hint_at_factors(factors: Collection[str]) -> Iterator[str]:
    if any("lora_" in name for name in factors):
        yield "the file has LoRA's factors beside the weights; merge them before saving (PEFT: merge_and_unload)"
    elif factors:
        yield (
            "the file has weights in parts (weight or spectral normalization); remove it before saving"
            " (torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm, remove_spectral_norm)"
        )


def _hint_at_axes(graph: Graph, given: Mapping[str, Shape]) -> Iterator[str]:
    kernels = [p for p in graph.parameters() if p.role in KERNELS and p.name in given and given[p.name] != p.shape]
    turned = [p for p in kernels if sorted(given[p.name]) == sorted(p.shape)]
    if turned and len(turned) == len(kernels):
        yield f"the kernels have their axes in another order than PyTorch's: {PYTORCH_AXES}"


def _hints(graph: Graph, given: Mapping[str, Shape]) -> Iterator[str]:
    """Suggestions that would make the file fit."""
    yield from _hint_at_axes(graph, given)
    yield from _hint_at_normalization(graph, given)
    head = head_parameters(graph)
    if not _is_another(graph, given):
        yield from _hint_at_widths(graph, given)
    if beyond_backbone(graph, given):
        yield 'adapt="backbone" drops the layers after the network\'s end'
    names = {parameter.name for parameter in graph.parameters()}
    if head and names - given.keys() == {parameter.name for parameter in head}:
        rest = ', and adapt="backbone" drops what the file has in its place' if given.keys() - names else ""
        yield f'the file has no head; overrides="head=null" removes it from the network too{rest}'


def _is_another(graph: Graph, given: Mapping[str, Shape]) -> bool:
    """Whether more differs than the first and the last layer: adapting those two would be in vain."""
    wanted = {parameter.name: parameter.shape for parameter in graph.parameters()}
    ends = {parameter.name for parameter in (*head_parameters(graph), *first_kernels(graph))}
    wrong = {name for name, shape in wanted.items() if given.get(name) != shape}
    return not wrong <= ends or any(len(shape) > 2 for name, shape in given.items() if name not in wanted)


def _hint_at_widths(graph: Graph, given: Mapping[str, Shape]) -> Iterator[str]:
    for parameter in head_parameters(graph)[:1]:
        wanted, classes = parameter.shape[0], other_width(given.get(parameter.name, ()), parameter.shape, 0)
        if classes:
            keep = f'overrides="parameters.classes={classes}" keeps the file\'s'
            yield f'the file has {classes} classes, not {wanted}; adapt="classes" reinitializes the head, {keep}'
        if (classes, wanted) == (BACKGROUND, BACKGROUND - 1):
            yield 'adapt="background" drops the first of the 1001'
    for parameter in first_kernels(graph)[:1]:
        channels = other_width(given.get(parameter.name, ()), parameter.shape, 1)
        if channels == COLORS:
            derived = 'adapt="channels" derives the kernels of other channels from theirs'
            yield f"the file is for red, green and blue; {derived}"
        elif channels:
            yield f'the file is for another number of input channels; overrides="input.channels={channels}" has as many'


def _hint_at_normalization(graph: Graph, given: Mapping[str, Shape]) -> Iterator[str]:
    """Suggestions where normalizations were folded on one side, or their statistics were not saved."""
    parameters = {parameter.name: parameter for parameter in graph.parameters()}
    missing = [parameters[name] for name in parameters if name not in given]
    unexpected = given.keys() - parameters.keys()
    statistics = [p for p in parameters.values() if p.role in STATISTICS]
    if not missing:
        return
    if missing == statistics:
        yield "the file has no running statistics, which parameters() of a model lacks; save its state_dict()"
    elif statistics and missing[0].role in NORMALIZATION and _has_all(given, fold(graph)):
        yield "the file's batch normalizations are folded; overrides=\"folded=true\" folds the network's too"
    elif not statistics and all(p.role in BIASES for p in missing) and _have_statistics(unexpected):
        yield "the file's batch normalizations are not folded; omit folded=true (`resnet-spec convert --fold` folds)"


def _has_all(given: Mapping[str, Shape], graph: Graph) -> bool:
    return all(parameter.name in given for parameter in graph.parameters())


def _have_statistics(names: Collection[str]) -> bool:
    return any(name.endswith(("running_var", "moving_variance")) for name in names)


def _did_you_mean(name: str | None) -> str:
    return f"; did you mean {name!r}?" if name else ""


def report_nonfinite(arrays: Tensors, source: str) -> None:
    """Log in one line which weights are not finite."""
    problems = nonfinite(arrays)
    if len(problems) == 1:
        log.warning("%s: %s", source, problems[0])
    elif problems:
        names = listed(problem.path for problem in problems)
        log.warning("%s: %d of %d tensors are not all finite: %s", source, len(problems), len(arrays), names)


def nonfinite(arrays: Tensors) -> list[Problem]:
    """How many elements of which arrays are NaN or infinite."""
    import numpy as np

    problems: list[Problem] = []
    with np.errstate(all="ignore"):
        for name, array in arrays.items():
            # A sum is quicker, and finite only if all are; it may also overflow by itself.
            if not np.isfinite(array.sum()) and (count := array.size - int(np.isfinite(array).sum())):
                nans = int(np.isnan(array).sum())
                problems.append(Problem(f"{nans} of {array.size} elements are NaN, {count - nans} infinite", name))
    return problems


def too_large(arrays: Tensors, dtype: str) -> list[Problem]:
    """Which arrays hold finite numbers that are infinite as ``dtype``, which may be bfloat16."""
    import numpy as np

    size = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    problems: list[Problem] = []
    with np.errstate(all="ignore"):
        for name, array in arrays.items():
            if array.dtype.itemsize <= size:
                continue
            cast = widen_bfloat16(narrow_bfloat16(array)) if dtype == "bfloat16" else array.astype(dtype)
            count = int(np.isinf(cast).sum() - np.isinf(array).sum())
            if count:
                problems.append(Problem(f"{count} of {array.size} elements are too large for {dtype}", name))
    return problems
