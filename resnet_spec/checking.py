"""Whether named arrays are a graph's parameters, one to one, and what is wrong where they are not."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from resnet_spec.adapting import BACKGROUND, head_parameters
from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.fields import Shape
    from resnet_spec.graph import Graph

    Tensors = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"
"""PyTorch's count of training steps: optional in a file, never a parameter."""

MAX_SPELLED = 20
"""Names to compare letter by letter, which takes seconds for more."""


def check_weights(graph: Graph, arrays: Tensors, source: str) -> dict[str, NDArray[Any]]:
    """The arrays in the graph's order; raises WeightsError unless they match its parameters one to one."""
    parameters = {parameter.name: parameter for parameter in graph.parameters()}
    given = {name: array for name, array in arrays.items() if name.rpartition(".")[2] != COUNTER}
    missing = [name for name in parameters if name not in given]
    unexpected = [name for name in given if name not in parameters]
    guesses = _guesses(
        {name: parameters[name].shape for name in missing}, {name: given[name].shape for name in unexpected}
    )
    problems = [Problem(f"missing{_guessed(guesses.get(name))}", name) for name in missing]
    meant = {guess: name for name, guess in guesses.items()}
    problems += [Problem(f"unexpected{_guessed(meant.get(name))}", name) for name in sorted(unexpected)]
    checked: dict[str, NDArray[Any]] = {}
    halves: list[str] = []
    for name, parameter in parameters.items():
        if name in given:
            array = given[name]
            checked[name] = array
            if array.shape != parameter.shape:
                problems.append(Problem(f"has shape {list(array.shape)}, not {list(parameter.shape)}", name))
            elif array.dtype.kind != "f":
                problems.append(Problem(f"holds {array.dtype}, not floating-point numbers", name))
            elif array.dtype.itemsize < 4:
                halves.append(name)
    if problems:
        counts = {"missing": len(missing), "unexpected": len(unexpected)}
        counts["not as they should be"] = len(problems) - sum(counts.values())
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        head = Problem(f"{source}: not the {len(parameters)} tensors of {graph.name} ({said})")
        hints = _hints(graph, given)
        raise WeightsError([head, *problems, *(Problem(hint) for hint in hints)])
    if halves:
        raise WeightsError(f"{source}: {half_precision(len(halves))}")
    return checked


def half_precision(count: int) -> str:
    """What is said of tensors in half precision where nobody asked for them."""
    return f"{count} tensors are stored in half precision, which is taken only where asked for (--adapt half)"


def _hints(graph: Graph, given: Tensors) -> list[str]:
    """Which adaptation would mend it, where one would."""
    hints: list[str] = []
    for parameter in head_parameters(graph)[:1]:
        shape = given[parameter.name].shape if parameter.name in given else parameter.shape
        if shape[:1] != parameter.shape[:1] and shape[1:] == parameter.shape[1:]:
            held, wanted = shape[0], parameter.shape[0]
            hints.append(f"the file has {held} classes, not {wanted}; --adapt classes draws the head anew")
            if (held, wanted) == (BACKGROUND, BACKGROUND - 1):
                hints.append("--adapt background leaves the first of the 1001 out")
    return hints


def _guessed(name: str | None) -> str:
    return f"; did you mean {name!r}?" if name else ""


def _guesses(missing: Mapping[str, Shape], unexpected: Mapping[str, Shape]) -> dict[str, str]:
    """For each missing name the unexpected one that is likely meant, each used once.

    Where few differ, the nearest in spelling; where many do, as in another library's naming, the one of the same shape
    that comes at the same place among them, since both list layers in order.
    """
    if max(len(missing), len(unexpected)) <= MAX_SPELLED:
        return _spelled(missing, unexpected)
    places: dict[Shape, list[str]] = defaultdict(list)
    for name, shape in unexpected.items():
        places[shape].append(name)
    for same in places.values():
        same.reverse()
    return {name: places[shape].pop() for name, shape in missing.items() if places.get(shape)}


def _spelled(missing: Iterable[str], unexpected: Iterable[str]) -> dict[str, str]:
    left = list(unexpected)
    guesses: dict[str, str] = {}
    for name in missing:
        near = get_close_matches(name, left, n=1, cutoff=0.6)
        if near:
            guesses[name] = near[0]
            left.remove(near[0])
    return guesses


def report_nonfinite(arrays: Tensors, source: str) -> None:
    """Tell the log which weights are not finite."""
    for problem in nonfinite(arrays):
        log.warning("%s: %s", source, problem)


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
