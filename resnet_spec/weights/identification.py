"""Finds the shipped specs that a weights file fits, by comparing their parameters with its tensors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import SpecError, WeightsError
from resnet_spec.graph import canonical
from resnet_spec.graph.difference import first_difference, first_node_difference, same_but_for_names
from resnet_spec.optimization.folding import fold
from resnet_spec.spec.catalog import available
from resnet_spec.spec.loader import load
from resnet_spec.weights.adapting import first_kernels, head_parameters, is_counter, other_width
from resnet_spec.weights.io import architecture_difference
from resnet_spec.weights.matching import check_weights
from resnet_spec.weights.naming import canonical_names
from resnet_spec.weights.reading import read_checkpoint
from resnet_spec.weights.selection import network_tensors
from resnet_spec.weights.tensor_names import dotted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.graph import Graph, Node
    from resnet_spec.operations.fields import Shape

    Tensors = Mapping[str, NDArray[Any]]
    Shapes = Mapping[str, Shape]

STATISTICS = frozenset({"running_mean", "running_var", "moving_mean", "moving_variance"})
"""Names of a normalization's statistics in PyTorch and TensorFlow."""

HEADLESS = "head=null"
"""The override that removes a spec's head."""

COMMON = ("torchvision", "timm", "keras", "slim", "msra")
"""Families of specs, the most common first."""

MIN_SIMILARITY = 0.75
"""Specs less like a file than this share of the most similar one's likeness are not lowered."""

MAX_COPIES = 4
"""Copies of a network that a file may have: its averages, and an optimizer's slots."""

MAX_SUGGESTIONS = 3
"""The number of specs that are named if none fits."""

MIN_SIZE_RATIO = 0.1
"""The smaller of spec and file must have at least this share of the larger one's number of tensors to be compared."""


@dataclass(frozen=True)
class Match:
    """A shipped spec compared with a file: ``share`` is the share of names and shapes that both have, 1 if it fits.

    ``overrides`` are what the spec needs to fit, such as another number of classes. ``differences`` is what
    ``read_weights`` would report. ``unlike`` is how it differs, apart from weights, from the first that fits too.
    """

    spec: str
    overrides: tuple[str, ...]
    share: float
    differences: tuple[str, ...] = ()
    unlike: str = ""

    @property
    def fits(self) -> bool:
        """Whether every tensor is a parameter, and every parameter a tensor."""
        return not self.differences


def identify(path: str | Path, progress: Callable[[str], None] = lambda step: None) -> list[Match]:
    """The shipped specs that a file fits, else the most similar ones with the differences; none if nothing is similar.

    Specs that differ in nothing that weights show (a stride, a padding) all match, unless the file states which it is
    for. Raises WeightsError if the file cannot be read.
    """
    path = Path(path)
    # Only names and shapes are used, and only here.
    checkpoint = read_checkpoint(path, mmap=True)
    tensors = _shape_only({**checkpoint.averages, **checkpoint.tensors})
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    progress("comparing with the shipped specs")
    best = _best_of_each(tensors)
    likely = [match for match in best if match.share == 1] or [match for match in best[:MAX_SUGGESTIONS] if match.share]
    found = [_fitted(match, path, checkpoint, tensors) for match in likely]
    repeats = [sum(".repeat=" in override for override in match.overrides) for match, _ in found if match.fits]
    fitting = [
        (match, graph)
        for match, graph in found
        if match.fits and sum(".repeat=" in override for override in match.overrides) == min(repeats)
    ]
    if not fitting:
        return [match for match, _ in found]
    (first, model), *others = fitting
    return [first, *(replace(match, unlike=_difference_between(first, model, match, graph)) for match, graph in others)]


def _best_of_each(tensors: Tensors) -> list[Match]:
    """The likely shipped specs, the likeliest first; with folded normalizations if none fits as it is."""
    graphs = {name: load(name).to_graph() for name in likely(available(), tensors)}
    candidates = [_candidate(name, graph, tensors, own_names=True) for name, graph in graphs.items()]
    if not any(map(_is_whole, candidates)):
        # By a library's names, the head may be elsewhere; but names without it may be a spec's own.
        others = [_candidate(name, graph, tensors) for name, graph in graphs.items()]
        if any(map(_is_whole, others)) or not any(match.share == 1 for match in candidates):
            candidates += others
    if not any(match.share == 1 for match in candidates) and not _has_statistics(tensors):
        folded = {name: fold(graph) for name, graph in graphs.items()}
        candidates += [
            _candidate(name, graph, tensors, "folded=true")
            for name, graph in folded.items()
            if len(graph.nodes) < len(graphs[name].nodes)
        ]
    if any(map(_is_whole, candidates)):
        candidates = [match for match in candidates if HEADLESS not in match.overrides]
    candidates.sort(key=lambda match: (-match.share, len(match.overrides), *rarity(match.spec)))
    best: dict[str, Match] = {}
    for match in candidates:
        best.setdefault(match.spec, match)
    return list(best.values())


def _is_whole(match: Match) -> bool:
    return match.share == 1 and HEADLESS not in match.overrides


def rarity(spec: str) -> tuple[int, str]:
    """By which specs that fit equally are sorted: the library that most people have first."""
    family = spec.partition("/")[0]
    return (COMMON.index(family) if family in COMMON else len(COMMON)), spec


def likely(specs: Iterable[str], tensors: Tensors) -> list[str]:
    """The specs whose kernels are most like a file's, by their numbers of elements; and those of unknown kernels.

    Lowering all specs would take seconds.
    """
    sizes = Counter(prod(tensor.shape) for tensor in tensors.values() if tensor.ndim > 1)
    known = _kernels()
    similarity = {name: _similarity(known[name], sizes) for name in specs if name in known}
    # If no kernel is alike, no spec is.
    least = MIN_SIMILARITY * max(similarity.values(), default=0) or 1
    nearest = sorted(similarity, key=lambda name: -similarity[name])[:MAX_SUGGESTIONS]
    return [name for name in specs if name not in known or similarity[name] >= least or name in nearest]


def most_alike(specs: Iterable[str], graph: Graph, count: int) -> list[str]:
    """The specs whose kernels are most like a network's, by their numbers of elements; the likeliest first."""
    sizes = Counter(count_kernels(graph))
    known = _kernels()
    similarity = {name: _similarity(known[name], sizes) for name in specs if name in known}
    return sorted(similarity, key=lambda name: (-similarity[name], *rarity(name)))[:count]


def of_like_kernels(specs: Iterable[str], tensors: Tensors) -> list[str]:
    """The specs whose kernels are a file's, apart from one, such as the head's."""
    sizes = Counter(prod(tensor.shape) for tensor in tensors.values() if tensor.ndim > 1)
    known = _kernels()
    return [
        name
        for name in specs
        if name in known and (known[name] - sizes).total() <= 1 and (sizes - known[name]).total() <= 1
    ]


def _similarity(kernels: Counter[int], sizes: Counter[int]) -> float:
    """Jaccard's index of a spec's kernels and those of a file, which may have several copies of all."""
    copies = (Counter({size: number // n for size, number in sizes.items()}) for n in range(1, MAX_COPIES + 1))
    return max((kernels & copy).total() / max(1, (kernels | copy).total()) for copy in copies)


@cache
def _kernels() -> Mapping[str, Counter[int]]:
    """How many kernels of which numbers of elements each shipped spec has."""
    content = json.loads((files("resnet_spec.weights") / "kernels.json").read_text("utf-8"))
    return {spec: Counter({int(size): number for size, number in sizes.items()}) for spec, sizes in content.items()}


def count_kernels(graph: Graph) -> dict[int, int]:
    """How many kernels of which numbers of elements a graph has, as ``kernels.json`` lists them."""
    return dict(sorted(Counter(prod(p.shape) for p in graph.parameters() if len(p.shape) > 1).items()))


def _shape_only(tensors: Tensors) -> Tensors:
    """Arrays of the same shapes without data, so that changing their layout to a graph's costs nothing."""
    import numpy as np

    nothing = np.zeros((), np.float32)
    return {name: np.broadcast_to(nothing, tensor.shape) for name, tensor in tensors.items()}


def _has_statistics(tensors: Tensors) -> bool:
    """Whether a file has running statistics, and so no folded normalizations."""
    return not STATISTICS.isdisjoint(name.replace("/", ".").rpartition(".")[2] for name in tensors)


def _candidate(name: str, graph: Graph, tensors: Tensors, *given: str, own_names: bool = False) -> Match:
    """Compare a spec with a file, if necessary with the file's own number of classes and channels, or without a head.

    ``given`` are the overrides with which the spec has this graph.
    """
    counts = sorted((len(graph.parameters()), len(tensors)))
    if counts[0] < MIN_SIZE_RATIO * counts[1]:
        return Match(name, given, 0.0)
    named = network_tensors(graph, tensors, own_names=own_names)
    shapes = {name: tensor.shape for name, tensor in named.items() if not is_counter(name)}
    wanted = {parameter.name: parameter.shape for parameter in graph.parameters()}
    overrides = [*given]
    for key, parameters, axis in (
        ("parameters.classes", head_parameters(graph), 0),
        ("input.channels", first_kernels(graph), 1),
    ):
        widths = {other_width(shapes.get(parameter.name, ()), parameter.shape, axis) for parameter in parameters}
        if len(widths) == 1 and (width := widths.pop()):
            overrides.append(f"{key}={width}")
            wanted |= {p.name: (*p.shape[:axis], width, *p.shape[axis + 1 :]) for p in parameters}
    head = {parameter.name for parameter in head_parameters(graph)}
    if head and head.isdisjoint(shapes) and not shapes.keys().isdisjoint(wanted):
        overrides.append(HEADLESS)
        wanted = {name: shape for name, shape in wanted.items() if name not in head}
    return Match(name, tuple(overrides), _share(wanted, shapes))


def _share(wanted: Shapes, found: Shapes) -> float:
    """Jaccard's index of names with their shapes; if no name is known, of the shapes only, and then less than 1."""
    both = len(wanted.items() & found.items())
    if both or not found:
        return both / (len(wanted) + len(found) - both)
    alike = (Counter(wanted.values()) & Counter(found.values())).total()
    return 0.5 * alike / (len(wanted) + len(found) - alike)


def _fitted(match: Match, path: Path, checkpoint: Checkpoint, tensors: Tensors) -> tuple[Match, Graph]:
    """A match with what differs, if necessary with as many blocks as the file's names count."""
    found = _compared(match, path, checkpoint, tensors)
    counts = stage_repeats(found[1], map(dotted, tensors))
    repeats = [f"stages.{stage}.repeat={count}" for stage, count in counts.items()]
    if found[0].fits or not repeats:
        return found
    try:
        repeated = load(match.spec, repeats).to_graph()
    except SpecError:
        # A spec may state a number for each block.
        return found
    candidate = _candidate(match.spec, repeated, tensors, *repeats)
    if candidate.share <= match.share:
        return found
    return _compared(candidate, path, checkpoint, tensors)


def stage_repeats(graph: Graph, names: Iterable[str]) -> dict[str, int]:
    """How many blocks each stage has by names such as ``layer3.5.conv1``, if it is another number than the graph's."""
    names = [*names]
    stages = [scope.name for scope in graph.scopes if scope.kind == "stage"]
    found: dict[str, set[str]] = {stage: set() for stage in stages}
    own: dict[str, set[str]] = {stage: set() for stage in stages}
    for counted, listed in ((found, names), (own, [node.name for node in graph.nodes])):
        for name in listed:
            parts = name.split(".")
            for stage, block in pairwise(parts):
                if stage in counted and block.isdigit():
                    counted[stage].add(block)
    return {s: len(found[s]) for s in stages if found[s] and own[s] and len(found[s]) != len(own[s])}


def _compared(match: Match, path: Path, checkpoint: Checkpoint, tensors: Tensors) -> tuple[Match, Graph]:
    """A match with what differs, and its graph; without overrides if the spec does nothing with them."""
    plain = load(match.spec).to_graph()
    try:
        graph = load(match.spec, match.overrides).to_graph()
    except SpecError:
        # Some specs have no such parameter, or no head that can be removed.
        graph = plain
    if graph.fingerprint == plain.fingerprint:
        match = replace(match, overrides=())
    try:
        check_weights(graph, network_tensors(graph, tensors), str(path))
        difference = architecture_difference(checkpoint, graph)
        differences = (f"{path}: {difference}",) if difference else ()
    except WeightsError as error:
        differences = tuple(map(str, error.problems))
    match = replace(match, differences=differences)
    return match, graph


def _difference_between(first: Match, model: Graph, match: Match, graph: Graph) -> str:
    if same_but_for_names(model, graph):
        return f"computes the same as {first.spec}"
    theirs = _layers(graph)
    for layer, one in _layers(model).items():
        other = theirs.get(layer, one)
        if canonical(other)["operation"] != canonical(one)["operation"]:
            renamed = other.model_copy(update={"name": one.name, "inputs": one.inputs})
            return first_node_difference(one, renamed, (first.spec, match.spec))
    return first_difference(model, graph, (first.spec, match.spec))


def _layers(graph: Graph) -> Mapping[str, Node]:
    """The layers with parameters by their canonical names."""
    layers = tuple(dict.fromkeys(parameter.node for parameter in graph.parameters()))
    return {name: graph.by_name[layer] for layer, name in canonical_names(layers).items()}
