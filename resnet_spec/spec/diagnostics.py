"""Collects the problems of a spec during lowering, each with the position that its author can change."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resnet_spec.errors import KeyPath, Locate, Position, Problem
from resnet_spec.spec.catalog import Catalog

MAX_PROBLEMS = 100


class LoweringStoppedError(Exception):
    """The network is too large, or has too many problems, to be lowered to its end."""


class Diagnostics:
    """The problems found, each once; those about shapes are also kept apart, since they may follow from others."""

    def __init__(self, locate: Locate) -> None:
        self.problems: list[Problem] = []
        self.shape_problems: set[Problem] = set()
        self.used_at: KeyPath = ()
        self.depth = 0
        self._locate = locate
        self._in_own_blocks: set[tuple[str, Position]] = set()
        self._in_shipped_blocks: set[str] = set()

    @contextmanager
    def inside_block(self, used_at: KeyPath) -> Generator[None]:
        """Report problems inside a block where the outermost block around them is used."""
        outer = self.used_at
        self.used_at = outer or used_at
        self.depth += 1
        yield
        self.used_at = outer
        self.depth -= 1

    def problem(self, message: str, path: KeyPath, *, key: bool = False, of_shapes: bool = False) -> None:
        """Report a problem at a path of the spec, or at its key; raises LoweringStoppedError after too many."""
        position = self._locate(path, key=key)
        where = path
        if self.used_at and path[:1] == ("blocks",):
            use = self._locate(self.used_at)
            if position is None or use is None or Catalog.shipped().owns(Path(position.file)):
                # The user can change their own file, not the shipped block's.
                if not of_shapes and message in self._in_shipped_blocks:
                    return
                self._in_shipped_blocks.add(message)
                inside = ".".join(map(str, path[2:]))
                at = f" at {position}" if position else ""
                message = f"{message} (in block {path[1]!r}, {inside}{at})"
                position, where = use, self.used_at
            else:
                # Another use of the block may know other names.
                mistake = message.partition(" (known: ")[0], position
                if not of_shapes and mistake in self._in_own_blocks:
                    return
                self._in_own_blocks.add(mistake)
                message = f"{message} (used by {'.'.join(map(str, self.used_at))})"
        self._add(Problem(message, ".".join(map(str, where)), position), of_shapes=of_shapes)

    def inherit(self, problem: Problem, network: str, path: KeyPath) -> None:
        """Report a problem of a network that is a part of this one; ``path`` is where the part's spec is."""
        where = ".".join(map(str, path))
        if problem.position is None or Catalog.shipped().owns(Path(problem.position.file)):
            at = f" at {problem.position}" if problem.position else ""
            inside = f"{problem.path}{at}" if problem.path else network
            message = f"{problem.message} (in spec {network!r}, {inside})"
            self._add(Problem(message, where, self._locate(path)))
        else:
            self._add(problem._replace(path=f"{where}.{problem.path}" if problem.path else where))

    def _add(self, problem: Problem, *, of_shapes: bool = False) -> None:
        if problem in self.problems:
            return
        self.problems.append(problem)
        if of_shapes:
            self.shape_problems.add(problem)
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("too many problems; the rest of the spec is not checked"))
            raise LoweringStoppedError
