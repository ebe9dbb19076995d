"""Which network is this file for? Every shipped spec's parameters are held to the tensors that it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.adapting import first_kernels, head_parameters
from resnet_spec.catalogue import available
from resnet_spec.checking import COUNTER, check_weights
from resnet_spec.checkpoints.naming import by_graph_names
from resnet_spec.checkpoints.reading import read_checkpoint
from resnet_spec.errors import SpecError, WeightsError
from resnet_spec.loading import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.fields import Shape
    from resnet_spec.graph import Graph, Parameter

    Shapes = Mapping[str, Shape]

NEAREST = 3
"""How many specs are named where none fits."""


@dataclass(frozen=True)
class Match:
    """A shipped spec beside a file: ``share`` is the part of all names and shapes that both have, 1 where it fits.

    ``overrides`` are what the spec needs to fit, such as another number of classes; ``differences`` is what
    ``read_weights`` would say of it.
    """

    spec: str
    overrides: tuple[str, ...]
    share: float
    differences: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every tensor is a parameter, and every parameter a tensor."""
        return not self.differences


def identify(path: str | Path, progress: Callable[[str], None] = lambda step: None) -> list[Match]:
    """The shipped specs whose parameters a file holds, else the nearest with what differs.

    Specs that differ in nothing that weights show (a stride, a padding) all match. Raises WeightsError where the file
    cannot be read.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    tensors = {**checkpoint.averages, **checkpoint.tensors}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    matches: list[Match] = []
    for name in available():
        progress(f"comparing with {name}")
        matches += _matches(name, tensors)
    matches.sort(key=lambda match: (-match.share, len(match.overrides), match.spec))
    fitting = [match for match in matches if match.share == 1]
    plain = [match for match in fitting if not match.overrides]
    return plain or fitting or [_explained(match, tensors, path) for match in matches[:NEAREST]]


def _matches(name: str, tensors: Mapping[str, NDArray[Any]]) -> Iterator[Match]:
    """The spec as it is, and with the classes and the channels of the file where those are all that differs."""
    graph = load(name).to_graph()
    shapes = _shapes(graph, tensors)
    share = _share(graph, shapes)
    overrides = tuple(_overrides(graph, shapes)) if share < 1 else ()
    if overrides:
        try:
            changed = _share(load(name, overrides).to_graph(), shapes)
        except SpecError:
            changed = 0.0
        if changed > share:
            yield Match(name, overrides, changed)
            return
    yield Match(name, (), share)


def _shapes(graph: Graph, tensors: Mapping[str, NDArray[Any]]) -> Shapes:
    named = by_graph_names(graph, tensors)
    return {name: tensor.shape for name, tensor in named.items() if name.rpartition(".")[2] != COUNTER}


def _share(graph: Graph, shapes: Shapes) -> float:
    """Jaccard's index of names with their shapes; where no name is known, of the shapes alone, and then never 1."""
    wanted = {parameter.name: parameter.shape for parameter in graph.parameters()}
    both = len(wanted.items() & shapes.items())
    if both or not shapes:
        return both / (len(wanted) + len(shapes) - both)
    alike = (Counter(wanted.values()) & Counter(shapes.values())).total()
    return 0.5 * alike / (len(wanted) + len(shapes) - alike)


def _overrides(graph: Graph, shapes: Shapes) -> Iterator[str]:
    for key, parameters, axis in (
        ("parameters.classes", head_parameters(graph), 0),
        ("input.channels", first_kernels(graph), 1),
    ):
        yield from _override(key, parameters[:1], axis, shapes)


def _override(key: str, parameters: list[Parameter], axis: int, shapes: Shapes) -> Iterator[str]:
    for parameter in parameters:
        held = shapes.get(parameter.name, parameter.shape)
        if len(held) == len(parameter.shape) and held[axis] != parameter.shape[axis]:
            yield f"{key}={held[axis]}"


def _explained(match: Match, tensors: Mapping[str, NDArray[Any]], path: Path) -> Match:
    graph = load(match.spec, match.overrides).to_graph()
    try:
        check_weights(graph, by_graph_names(graph, tensors), str(path))
    except WeightsError as error:
        return Match(match.spec, match.overrides, match.share, tuple(map(str, error.problems[1:])))
    return match
