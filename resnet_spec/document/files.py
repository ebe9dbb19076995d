"""Reads YAML files, and standard input where a path is ``-``."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, TextIO

from resnet_spec.document.parser import MAX_BYTES, Document, parse, position_at, too_large
from resnet_spec.errors import Problem, SpecError, one_line

STDIN: Final = Path("-")
"""What is read of standard input, as other programs have it."""


def read(path: Path) -> Document:
    """Read one YAML file of at most 1 MiB of UTF-8, or ``STDIN``."""
    return parse(read_text(path), _name(path))


def _name(path: Path) -> str:
    return "<stdin>" if path == STDIN else str(path)


def read_text(path: Path) -> str:
    """The text of a file that ``read`` reads; raises SpecError."""
    name = one_line(_name(path))
    try:
        content = _standard_input(sys.stdin) if path == STDIN else _content(path)
    except OSError as error:
        raise SpecError(f"{name}: {error.strerror or error}") from None
    except ValueError as error:
        raise SpecError(f"{_name(path)!r}: {error}") from None
    if len(content) > MAX_BYTES:
        raise too_large(name)
    return _decode(content, _name(path))


def _content(path: Path) -> bytes:
    # A pipe or a device may wait, or have no end.
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SpecError(f"{one_line(str(path))}: is not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


@lru_cache(maxsize=1)
def _standard_input(stream: TextIO | None) -> bytes:
    """What standard input has; it can be read only once, and a command may read a spec several times."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        raise SpecError("<stdin>: there is no standard input")
    return buffer.read(MAX_BYTES + 1)


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        position = position_at(before, len(before), file)
        raise SpecError(Problem(f"not UTF-8: byte 0x{content[error.start]:02x}", position=position)) from None
