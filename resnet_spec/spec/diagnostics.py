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
        self.size_note = ""
        """What to add to a problem of shapes: the size of the input, if it is not the spec's own."""
        self.depth = 0
        self._locate = locate
        self._in_own_blocks: set[tuple[str, Position]] = set()
        self._in_shipped: set[str] = set()

    @contextmanager
    def inside_block(self, used_at: KeyPath) -> Generator[None]:
        """Report problems inside a block where the outermost block around them is used."""
        outer = self.used_at
        self.used_at = outer or used_at
        self.depth += 1
        yield
        self.used_at = outer
        self.depth -= 1

    @contextmanager
    def elsewhere(self) -> Generator[None]:
        """Report only problems at positions without one."""
        before = list(self.problems)
        known = {problem.position for problem in before} - {None}
        try:
            yield
        finally:
            self.problems[:] = before + [each for each in self.problems[len(before) :] if each.position not in known]

    def problem(self, message: str, path: KeyPath, *, key: bool = False, of_shapes: bool = False) -> None:
        """Report a problem at a path of the spec, or at its key; raises LoweringStoppedError after too many."""
        position, where = self._locate(path, key=key), path
        # A shipped file's mistakes follow from one in the author's: each is reported once, however many places it has.
        shipped = position is None or _is_shipped(position)
        many = of_shapes or path[:1] == ("stages",)
        if shipped and not many and (self.used_at or self._is_inherited(position)):
            if message in self._in_shipped:
                return
            self._in_shipped.add(message)
        if self.used_at and path[:1] == ("blocks",):
            use = self._locate(self.used_at)
            if position is None or use is None or shipped:
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
        message += self.size_note if of_shapes else ""
        if self._is_inherited(position):
            message = f"{message} (inherited from {position}; to override it: {_override(where)})"
            position = self._locate(("extends",))
        self._add(Problem(message, ".".join(map(str, where)), position), of_shapes=of_shapes)

    def _is_inherited(self, position: Position | None) -> bool:
        """Whether a position is in a shipped file, but the spec in a file of its author."""
        root = self._locate(())
        return position is not None and root is not None and _is_shipped(position) and not _is_shipped(root)

    def is_shipped(self, path: KeyPath) -> bool:
        """Whether a shipped file has what is at a path, which the author of a spec cannot change."""
        position = self._locate(path)
        return position is not None and _is_shipped(position)

    def inherit(self, problem: Problem, network: str, path: KeyPath) -> None:
        """Report a problem of a network that is a part of this one; ``path`` is where the part's spec is."""
        where = ".".join(map(str, path))
        if problem.position is None or _is_shipped(problem.position):
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


def _is_shipped(position: Position) -> bool:
    return Catalog.shipped().owns(Path(position.file))


def _override(path: KeyPath) -> str:
    """What a file that inherits a value says to override it.

    >>> _override(("stages", "layer1", "repeat"))
    'stages: {layer1: {repeat: …}}'
    """
    keys = [str(part) for part in path if isinstance(part, str)]
    return f"{': {'.join(keys)}: …{'}' * (len(keys) - 1)}"
