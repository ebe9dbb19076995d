"""Standard streams that do not change a command's exit status.

Writing to a closed pipe (``| head -1``) raises an error, and so does writing "Δ" in a locale that lacks it. Both are
handled here for all output, so that the exit status depends only on the command's result.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO, cast

_PLAIN = str.maketrans(
    {
        "Δ": "d", "σ": "s", "λ": "l", "×": "x", "√": "sqrt", "·": ".", "−": "-", "–": "-", "—": "-", "…": "...",
        "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "±": "+/-", "∞": "inf", "✓": "ok", "✗": "x", "“": '"', "”": '"',
        "‘": "'", "’": "'", "•": "*", "▸": ">", "▾": "v",
        **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺╼╾", "-"), **dict.fromkeys("│┃║╎╏┆┇┊┋╵╷╹╻╽╿", "|"),
        **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
        **{chr(code): "+" for code in range(0x250C, 0x254C)}, **{chr(code): "+" for code in range(0x2552, 0x2574)},
    }
)  # fmt: skip
"""Replacements for characters that an encoding lacks; others are escaped."""


def encodable(text: str, encoding: str) -> str:
    """Return a text that an encoding can represent, with replacements or escapes where needed."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        # Replace only what the encoding lacks: cp1252 has "×" and "…", but not "Δ".
        return "".join(_one(character, encoding) for character in text)
    return text


def _one(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return character.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return character


class Stream(io.TextIOBase):
    """A text stream over another; it ignores closed pipes, and replaces characters that the encoding lacks.

    Writing never raises an error, so that a command does all of its work. It has no ``buffer``, which click would use
    to write UTF-8 into an ASCII stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure = ""
        """Why writing failed, if not because of a closed pipe: a full disk."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters without a replacement are written."""
        return "backslashreplace"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Write a text; it is discarded once the pipe is closed."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - click tries bytes
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._try(lambda: self._stream.write(encodable(text, self.encoding)))
        return len(text)

    def flush(self) -> None:
        """Flush the buffer; it is discarded once the pipe is closed."""
        # Python 3.13 reports what fails in a finalizer, which closes this stream, maybe after the one below.
        if not self._stream.closed:
            self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            # The interpreter flushes again at exit, which would fail with a traceback and another status.
            _point(self._stream.fileno(), os.O_WRONLY)
            # On Windows a closed pipe is an invalid argument.
            if error.errno not in (errno.EPIPE, errno.ESHUTDOWN, errno.EINVAL):
                self.failure = error.strerror or str(error)


def _point(descriptor: int, flags: int) -> None:
    """Redirect a file descriptor to the null device."""
    nowhere = os.open(os.devnull, flags)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@contextmanager
def safe_streams() -> Generator[Stream]:
    """Replace stdout and stderr by such streams, and yield stdout's."""
    # If a process starts without them, the next file it opens would get their descriptors.
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            _point(descriptor, flags)
    kept = sys.stdout, sys.stderr
    out, err = (
        Stream(stream or open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - the process's own
        for stream, descriptor in zip(kept, (1, 2), strict=True)
    )
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = kept
