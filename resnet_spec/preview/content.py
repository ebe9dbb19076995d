"""What is shown of a spec file: its mistakes in their lines, or its network and how it differs from its base."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from resnet_spec.describing.alignment import Side
from resnet_spec.describing.differences import Comparison, compare, side
from resnet_spec.describing.marks import marks_of
from resnet_spec.errors import Position, Problem, ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.graph.summary import Summary, summarize
from resnet_spec.spec.loader import load, load_base
from resnet_spec.spec.spec import Spec

AROUND = 2
"""The lines that are shown before and after one with a mistake."""


@dataclass(frozen=True)
class Line:
    """A line of a file in three parts: ``wrong`` is where a mistake is, in one line of those that are shown."""

    number: int
    before: str
    wrong: str = ""
    after: str = ""


@dataclass(frozen=True)
class Mistake:
    """A problem, and the lines around it if a file contains it."""

    problem: Problem
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Network:
    """A valid spec's network, and what differs from its base: what it extends or, without one, how it began."""

    graph: Graph
    summary: Summary
    base: str
    comparison: Comparison

    @cached_property
    def marks(self) -> dict[str, str]:
        """What differs from the base: for the name of each such node, that it is ``added`` or ``changed``."""
        return marks_of(self.comparison.alignment)[1]


@dataclass(frozen=True)
class Content:
    """What is shown of a file: the last valid network, which is ``outdated`` while there are mistakes."""

    path: Path
    mistakes: tuple[Mistake, ...] = ()
    network: Network | None = None
    first: Side | None = None
    """The network that the file had when it was first valid."""
    base: tuple[Spec, Side] | None = None
    """What the file extends."""

    @property
    def outdated(self) -> bool:
        """Whether the network is that of an earlier, valid version of the file."""
        return bool(self.mistakes) and self.network is not None


def read(path: Path, before: Content | None = None) -> Content:
    """Read a file again.

    Args:
        path: A spec.
        before: What was shown of it.

    Returns:
        Its network, or its mistakes with the network of ``before``.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.yaml"
        >>> _ = path.write_text("extends: cifar/resnet20\\nstages: {layer1: {repaet: 5}}\\n")
        >>> [str(mistake.problem.message) for mistake in read(path).mistakes]
        ["unknown key 'repaet' of block 'cifar_basic_block'; did you mean 'repeat'?"]
        >>> _ = path.write_text("extends: cifar/resnet20\\nstages: {layer1: {repeat: 5}}\\n")
        >>> network = read(path).network
        >>> [line.text for line in network.comparison.lines()][:1]
        ['5 blocks instead of 3']
    """
    before = before or Content(path)
    try:
        graph = load(path).to_graph()
        first = before.first or side(graph)
        base = _base(path, before)
        name, compared = (base[0].name, base[1]) if base else ("the version that was opened", first)
        network = Network(graph, summarize(graph), name, compare(compared, graph))
    except ResnetSpecError as error:
        return replace(before, mistakes=tuple(_mistake(problem) for problem in error.problems))
    except Exception as error:  # Whatever it is, the page must go on.
        return replace(before, mistakes=(Mistake(Problem(f"{type(error).__name__}: {error}")),))
    return Content(path, network=network, first=first, base=base)


def _base(path: Path, before: Content) -> tuple[Spec, Side] | None:
    spec = load_base(path)
    if spec is None:
        return None
    return before.base if before.base and before.base[0] == spec else (spec, side(spec.to_graph()))


def _mistake(problem: Problem) -> Mistake:
    position = problem.position
    if position is None:
        return Mistake(problem)
    try:
        texts = Path(position.file).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return Mistake(problem)
    first = max(position.line - AROUND, 1)
    shown = enumerate(texts[first - 1 : position.line + AROUND], first)
    return Mistake(problem, tuple(_line(number, text, position) for number, text in shown))


def _line(number: int, text: str, position: Position) -> Line:
    if number != position.line:
        return Line(number, text)
    begin = position.column - 1
    # As far as the value, or the key and its value, goes in this line.
    length = len(re.split(r"[,\]}]|\s#", text[begin:], maxsplit=1)[0].rstrip()) or 1
    return Line(number, text[:begin], text[begin : begin + length] or " ", text[begin + length :])
