"""Every error a user can cause: a list of located problems, so that all mistakes are told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One mistake: what is wrong, the dotted path of the value, and where it stands."""

    message: str
    path: str = ""
    position: Position | None = None

    def __str__(self) -> str:
        return printable(": ".join(str(part) for part in (self.position, self.path, self.message) if part))


class ResnetSpecError(Exception):
    """Base of this package's errors; ``str()`` gives one line a problem.

    ``exit_status`` is what the commands exit with: 2, the input is wrong; 3, a step could not be run.
    """

    exit_status = 2

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SpecError(ResnetSpecError):
    """A spec, a block or an override is wrong."""


class GraphError(ResnetSpecError):
    """A graph is not well formed: names, order, arity or shapes."""


class WeightsError(ResnetSpecError):
    """A weights file is broken, or does not fit the graph."""


class ImageError(ResnetSpecError):
    """An image cannot be read, or does not fit the others."""


class LabelsError(ResnetSpecError):
    """Names of classes cannot be read, or are not as many as the classes."""


class OutputError(ResnetSpecError):
    """A result cannot be written where it was asked for."""


class DownloadError(ResnetSpecError):
    """Published weights cannot be fetched, or are not what was published."""

    exit_status = 3


class BackendError(ResnetSpecError):
    """A backend is missing, misconfigured, or died while working."""

    exit_status = 3


_PLAIN = {
    r"Input should be": "must be",
    r"Extra inputs are not permitted": "is not known here",
    r"a valid integer": "a whole number",
    r"a valid dictionary": "a mapping",
    r"a valid tuple": "a list",
    r"a valid string": "text",
    r"a valid boolean": "true or false",
    r"valid (?=number)": "",
    r" or instance of \w+": "",
    r"Tuple should have (at (?:least|most) \d+ items?) after validation, not \d+": r"must have \1",
}


def plain(message: str) -> str:
    """One of pydantic's messages in the words that specs are written about with."""
    for theirs, ours in _PLAIN.items():
        message = re.sub(theirs, ours, message)
    return message[:1].lower() + message[1:]


CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters by which text from a stranger's file could command a terminal, or reverse what it shows."""


def printable(text: str) -> str:
    """Escape the control characters in text for a terminal."""
    return CONTROLS.sub(lambda found: ascii(found[0]).strip("'"), text)


def shown(value: object) -> str:
    """A value as messages show it: a word as YAML has it, anything else as Python does, and not too much of it."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known word, or nothing if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
