"""Describes an unknown file: the network that it states, or what its tensors tell; and the shipped specs that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_spec.describing.changes import Difference
from resnet_spec.describing.description import Description, describe
from resnet_spec.describing.nearest import nearest_specs
from resnet_spec.describing.networks import importers_of, read_network, stated_graph
from resnet_spec.describing.tensors import tensor_lines
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.weights.identification import Match
from resnet_spec.weights.identification import identify as matches_of
from resnet_spec.weights.reading import read_checkpoint


@dataclass(frozen=True)
class Identification:
    """What is known of a file.

    Attributes:
        name: The file, as it was named.
        description: The network that it states; None if it states tensors only.
        lines: Parts and sentences: of the description, or what names and shapes of tensors tell.
        matches: Specs that fit, else the nearest.
        by_structure: Whether specs were compared by structure, not by the names and shapes of tensors.
        unread: Why a network that the file states could not be read; empty if it was, or if there is none.
    """

    name: str
    description: Description | None
    lines: tuple[Difference, ...]
    matches: tuple[Match, ...]
    by_structure: bool
    unread: str = ""


def identify(
    text: str, input: tuple[int, ...] | None = None, progress: Callable[[str], None] = lambda step: None
) -> Identification:
    """Describe what a text names, and find the shipped specs that fit.

    Args:
        text: A path of a weights file or a model, or ``package.module:function``.
        input: The shape of the input, channels first, for a model that does not state it.
        progress: A function that is called with a description of each step.

    Returns:
        The description and the specs.

    Raises:
        WeightsError: The file cannot be read.
        ModelError: There is no such function, or its model cannot be read.
    """
    path = Path(text)
    progress("reading the file")
    unread = ""
    if (path.exists() and importers_of(path)) or (":" in text and not path.exists()):
        try:
            network = read_network(text, input=input)
        except ResnetSpecError as error:
            # Weights of a model, or a model of layers that the language lacks, still have tensors.
            if not path.exists():
                raise
            unread = str(error)
        else:
            progress("comparing with the shipped specs")
            return _of_network(text, network.graph, nearest_specs(network.graph), by_structure=True)
    try:
        graph = stated_graph(path)
        matches = matches_of(path, progress)
    except ResnetSpecError as error:
        raise (type(error)(unread) if unread else error) from None
    if graph is not None:
        return _of_network(text, graph, matches, by_structure=False)
    checkpoint = read_checkpoint(path, mmap=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in {**checkpoint.averages, **checkpoint.tensors}.items()}
    lines = tensor_lines(shapes, checkpoint.averages, checkpoint.ignored)
    return Identification(text, None, tuple(lines), tuple(matches), by_structure=False, unread=unread)


def _of_network(text: str, graph: Graph, matches: list[Match], *, by_structure: bool) -> Identification:
    description = describe(graph)
    return Identification(text, description, tuple(description.lines()), tuple(matches), by_structure)
