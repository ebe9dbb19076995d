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
        problem = Problem(message, ".".join(map(str, where)), position)
        if problem in self.problems:
            return
        self.problems.append(problem)
        if of_shapes:
            self.shape_problems.add(problem)
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("too many problems; the rest of the spec is not checked"))
            raise LoweringStoppedError
