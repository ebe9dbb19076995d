"""Standard output and standard error that cannot change how a command ends.

A reader that goes away (``| head -1``) raises an error at the next write, and a locale without "Δ" raises another. Both
are handled here, in one place for all that prints, so that a command's exit status says what it computed.
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
"""What is printed instead of a character that an encoding lacks; anything else is escaped."""


def encodable(text: str, encoding: str) -> str:
    """A text as an encoding can hold it: the same where possible, else with plainer characters or escapes."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        # Only what the encoding lacks is replaced: cp1252 has "×" and "…", and lacks "Δ".
        return "".join(_one(character, encoding) for character in text)
    return text


def _one(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return character.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return character


class Stream(io.TextIOBase):
    """A text stream over another, which drops what nobody reads and degrades what the encoding lacks.

    Nothing that is written raises an error, so that a command does all of its work. It has no ``buffer``, by which
    click would write UTF-8 into a stream of ASCII.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure = ""
        """Why the stream takes no more, other than that its reader has gone: a full disk."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How the rest of what the encoding lacks is written."""
        return "backslashreplace"

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Write a text; to nowhere once the reader has gone."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - click tries bytes
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._try(lambda: self._stream.write(encodable(text, self.encoding)))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered; to nowhere once the reader has gone."""
        # Python 3.13 reports what fails in a finalizer, which closes this stream, maybe after the one below.
        if not self._stream.closed:
            self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            # What is buffered would fail again when the interpreter ends, with a traceback and another status.
            _point(self._stream.fileno(), os.O_WRONLY)
            # Windows calls a closed pipe an invalid argument.
            if error.errno not in (errno.EPIPE, errno.ESHUTDOWN, errno.EINVAL):
                self.failure = error.strerror or str(error)


def _point(descriptor: int, flags: int) -> None:
    """Let a file descriptor lead to nowhere."""
    nowhere = os.open(os.devnull, flags)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@contextmanager
def safe_streams() -> Generator[Stream]:
    """Put such streams in the place of stdout and stderr; gives stdout's."""
    # A process may be started without them, and then the next file to be opened would take their place.
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
