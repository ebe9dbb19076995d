"""The mistakes of one spec, gathered while it is lowered, each told at the place where its author would look."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_spec.errors import Position, Problem
from resnet_spec.spec.catalog import Catalog

if TYPE_CHECKING:
    from resnet_spec.document.parser import KeyPath
    from resnet_spec.spec.spec import Spec

MAX_PROBLEMS = 100


class GivenUpError(Exception):
    """The network is too large, or too wrong, to go on."""


class Reports:
    """Problems so far, each once; those about shapes are known apart, since they may follow from others."""

    def __init__(self, spec: Spec) -> None:
        self.problems: list[Problem] = []
        self.shape_problems: set[Problem] = set()
        self.use: KeyPath = ()
        self.depth = 0
        self._spec = spec
        self._told: set[tuple[str, Position]] = set()

    @contextmanager
    def using(self, path: KeyPath) -> Generator[None]:
        """Mistakes inside a block are told at the place that uses it, the outermost."""
        outer = self.use
        self.use = outer or path
        self.depth += 1
        yield
        self.use = outer
        self.depth -= 1

    def problem(self, message: str, path: KeyPath, *, key: bool = False, of_shapes: bool = False) -> None:
        """Tell a mistake at a path of the spec, or of its key; raises GivenUpError after too many."""
        position = self._spec.position(path, key=key)
        where = path
        if self.use and path[:1] == ("blocks",):
            use = self._spec.position(self.use)
            if position is None or use is None or Catalog.shipped().owns(Path(position.file)):
                # The user's own file comes first; the shipped block's is where to look further.
                inside = ".".join(map(str, path[2:]))
                at = f" at {position}" if position else ""
                message = f"{message} (in block {path[1]!r}, {inside}{at})"
                position, where = use, self.use
            else:
                if not of_shapes and (message, position) in self._told:
                    return
                self._told.add((message, position))
                message = f"{message} (used by {'.'.join(map(str, self.use))})"
        problem = Problem(message, ".".join(map(str, where)), position)
        if problem in self.problems:
            return
        self.problems.append(problem)
        if of_shapes:
            self.shape_problems.add(problem)
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("too many problems; the rest of the spec is not looked at"))
            raise GivenUpError
