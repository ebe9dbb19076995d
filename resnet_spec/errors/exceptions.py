"""The errors that a user can cause: each is a list of located problems, so that all are reported at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, Protocol, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value inside plain data; the root's is ``()``."""


class Position(NamedTuple):
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Locate(Protocol):
    """Finds the position of the value, or of the key, at a path; None if no file contains it."""

    def __call__(self, path: KeyPath, *, key: bool = False) -> Position | None:
        """The position of the value at ``path``, or of its key."""
        ...


class Problem(NamedTuple):
    """One mistake: what is wrong, the dotted path of the value, and its position in a file.

    Examples:
        >>> import resnet_spec
        >>> print(resnet_spec.Problem("must be at least 1, not 0", "stages.layer1.repeat"))
        stages.layer1.repeat: must be at least 1, not 0
    """

    message: str
    path: str = ""
    position: Position | None = None

    def __str__(self) -> str:
        # A message may be that of several mistakes, a place is on one line.
        parts = one_line(str(self.position or "")), one_line(self.path), printable(self.message)
        return ": ".join(part for part in parts if part)


MAX_ALIKE = 10
"""The most lines about values with one kind of mistake."""

MAX_LISTED = 6
"""The most names in a line."""


def listed(names: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Names for a message, as many as a reader takes in: ``a, b and 3 more``.

    >>> listed("abcde", 2)
    'a, b and 3 more'
    """
    all_names = list(names)
    rest = len(all_names) - limit
    return ", ".join(all_names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _lines(problems: Iterable[Problem]) -> Iterator[str]:
    """One line a problem; values with one kind of mistake, which the first word tells, are cut after the first ones."""
    for _, group in groupby(
        problems, key=lambda problem: problem.path and problem.message.partition(" ")[0].strip(";")
    ):
        alike = list(group)
        shown = len(alike) if not alike[0].path else MAX_ALIKE
        yield from map(str, alike[:shown])
        if (rest := len(alike) - shown) > 0:
            yield f"… and {rest} more"


class ResnetSpecError(Exception):
    """Base of this package's errors: ``problems`` lists every mistake, and ``str()`` has one line for each.

    Of many mistakes of one kind in a row, ``str()`` has the first ones and how many more there are.

    ``exit_status`` is the status with which the commands exit: 2 if the input is wrong, 3 if a step could not be run.

    Args:
        problems: One problem or several, or the message of a single one.

    Examples:
        >>> import resnet_spec
        >>> try:
        ...     resnet_spec.load("resnet18", {"depth": 0, "stages.layer1.block": "bottlneck"})
        ... except resnet_spec.ResnetSpecError as error:
        ...     print([problem.path for problem in error.problems], error.exit_status)
        ['depth', 'stages.layer1.block'] 2
    """

    exit_status = 2

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(_lines(self.problems)))


class SpecError(ResnetSpecError):
    """A spec, a block or an override is wrong."""


class GraphError(ResnetSpecError):
    """A graph is not well-formed: its JSON, names, order, arity or shapes."""


class WeightsError(ResnetSpecError):
    """Weights cannot be read, or do not fit the graph."""


class ModelError(ResnetSpecError):
    """Another library's model cannot be imported, or differs from what it was imported as."""


class ImageError(ResnetSpecError):
    """An image cannot be read, or does not fit the others."""


class LabelsError(ResnetSpecError):
    """Labels cannot be read, or their number is not the number of classes."""


class OutputError(ResnetSpecError):
    """A result cannot be written to the requested path."""


class QuantizationError(ResnetSpecError):
    """A network cannot be quantized as requested, or a file of quantization does not fit it."""


class DownloadError(ResnetSpecError):
    """Published weights cannot be downloaded, or differ from what was published."""

    exit_status = 3


class HubError(ResnetSpecError):
    """A repository of the Hugging Face Hub cannot be read or written."""

    exit_status = 3


class BackendError(ResnetSpecError):
    """A backend is missing or misconfigured, or its process ended."""

    exit_status = 3


class MissingLibraryError(ResnetSpecError):
    """A library that comes with an extra is not installed."""

    exit_status = 3


CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters by which text from a stranger's file could command a terminal, or reverse what it shows."""


def printable(text: str) -> str:
    """Escape the control characters in text for a terminal."""
    return CONTROLS.sub(lambda found: ascii(found[0]).strip("'"), text)


def one_line(text: str) -> str:
    """Escape the control characters and line breaks in text, such as a file's name.

    >>> one_line("a\\nb.yaml")
    'a\\\\nb.yaml'
    """
    return printable(text).replace("\n", "\\n")


def shown(value: object) -> str:
    """A value as messages show it: null, true and false as in YAML, anything else as in Python, shortened."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(word: str, known: Iterable[str], preferred: Collection[str] = ()) -> str:
    """``"; did you mean 'x'?"`` with the most similar known word, or nothing if none is similar.

    Of words that are as similar, it is one that is preferred, and then the last in order of the alphabet.

    >>> suggest("LAYER5", ["layer1", "layer2", "layer3", "layer4"])
    "; did you mean 'layer4'?"
    """
    import difflib

    given = word.lower()
    names = {name.lower(): name for name in known}

    def likeness(name: str) -> tuple[float, bool, str]:
        return difflib.SequenceMatcher(None, name, given).ratio(), names[name] in preferred, name

    best = max(difflib.get_close_matches(given, names, n=10, cutoff=0.6), key=likeness, default=None)
    return f"; did you mean {names[best]!r}?" if best is not None else ""


def suggest_spelling(word: str, known: Iterable[str]) -> str:
    """``suggest`` for names of which a similar one means something else: only one that may be misspelled.

    >>> suggest_spelling("Conv2D", ["conv1d", "conv2d"]), suggest_spelling("conv3d", ["conv1d", "conv2d"])
    ("; did you mean 'conv2d'?", '')
    """
    near = [name for name in known if _may_be_misspelled(word, name)]
    return suggest(word, near) if near else ""


def _may_be_misspelled(word: str, name: str) -> bool:
    """Whether two names differ in case and punctuation only, or in one letter or the order of two."""
    import difflib

    one, two = (re.sub("[^a-z0-9]", "", text.lower()) for text in (word, name))
    if re.sub("[a-z]", "", one) != re.sub("[a-z]", "", two) or word in OTHER_NAMES:
        return False
    same = sum(block.size for block in difflib.SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks())
    return max(len(one), len(two)) - same <= 1


OTHER_NAMES = frozenset({"celu", "crelu", "selu", "rrelu", "glu", "erelu"})
"""Functions that are no operation, although one letter makes them one."""
