"""Keeps what is known of each image in a file while an evaluation runs, so that it continues where it was ended.

The first line states what the results depend on, and each further line has those of one batch with a checksum. A file
of another evaluation is replaced, and a line that was not written to its end or was changed is dropped with all after
it. Two evaluations do not use one file at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Self, cast

from pydantic import ConfigDict, Field, model_validator

from resnet_spec.errors import OutputError
from resnet_spec.errors.validation import Frozen

VERSION = "evaluation"
"""The first key of a file; its value is the version of the format."""

MAX_HEAD = 2**20
"""The most bytes of the first line."""

MAX_LINE = 2**27
"""The most bytes of another line, enough for 100,000 images in five backends; a longer one is dropped."""


class Record(Frozen):
    """The results of a batch.

    Attributes:
        first: The place of its first image.
        count: How many images it is of.
        read: The places of those that could be read.
        problems: The places of others, and why they could not be read.
        turned: The places of those whose EXIF orientation is ignored.
        scores: The ``Scores`` of what was read in each backend or model; empty if nothing was.
        changes: The ``Changes`` in each of them but the first.
        sums: The number of the reference's logits, their sum and that of their squares.
        sha256: Of the rest.
    """

    model_config = ConfigDict(strict=True, ser_json_inf_nan="constants")

    first: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=1)]
    read: list[int]
    problems: list[tuple[int, str]]
    turned: list[int]
    scores: list[tuple[list[list[int]], list[int], list[float]]]
    changes: list[tuple[list[float], list[float], list[float]]]
    sums: tuple[float, float, float]
    sha256: str = ""

    @model_validator(mode="after")
    def _has_each_image_once(self) -> Self:
        places = sorted([*self.read, *(place for place, _ in self.problems)])
        # Compared first, since a count may be anything.
        if len(places) != self.count or places != [*range(self.first, self.first + self.count)]:
            raise ValueError("images are missing")
        if any(len(values) != len(self.read) for found in (*self.scores, *self.changes) for values in found):
            raise ValueError("results are missing")
        return self

    def line(self) -> bytes:
        """Return the line of a file."""
        return self.model_copy(update={"sha256": self._checksum()}).model_dump_json().encode() + b"\n"

    @classmethod
    def parsed(cls, line: bytes) -> Self | None:
        """Return what a line has; None if it is not whole, or not as it was written."""
        with suppress(ValueError):
            found = cls.model_validate_json(line)
            if line.endswith(b"\n") and found.sha256 == found._checksum():
                return found
        return None

    def _checksum(self) -> str:
        return sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()


class Journal:
    """A file of results, open for further ones within a ``with`` block.

    Args:
        path: The file.
        subject: What the results depend on, by what it is; a file with another subject is replaced.

    Attributes:
        changed: What differs in the file that is replaced, if it is one.
    """

    def __init__(self, path: Path, subject: Mapping[str, str]) -> None:
        self.path = path
        self.changed: tuple[str, ...] = ()
        self._head = {VERSION: "2", **subject}

    def __enter__(self) -> Self:
        check_state(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # What is written goes to the end, which batches() moves.
            self._file = self.path.open("a+b")
            try:
                self._lock()
                self._start = self._check_head()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What a full disk did not take is lost, and record() has said so.
        with suppress(OSError):
            self._file.close()

    def batches(self, images: int) -> Iterator[Record]:
        """Yield what was recorded of a number of images, in order; what is recorded next follows the last of these."""
        self._file.seek(self._start)
        end, wanted = self._start, 0
        while line := self._file.readline(MAX_LINE):
            found = Record.parsed(line)
            # A batch that is there twice, or one that is missing, would count images twice or never.
            if found is None or found.first != wanted or wanted + found.count > images:
                break
            wanted += found.count
            end += len(line)
            yield found
        self._file.truncate(end)

    def record(self, found: Record) -> None:
        """Append the results of a batch."""
        try:
            self._file.write(found.line())
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from None

    def remove(self) -> None:
        """Delete the file: everything is known."""
        # While it is locked, so that it is not that of another evaluation; Windows deletes only what is closed.
        if sys.platform == "win32":
            self._file.close()
        with suppress(OSError):
            os.unlink(self.path)
        self._file.close()

    def _lock(self) -> None:
        """Raise OutputError if another evaluation uses the file; Windows, and some file systems, have no such locks."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f'{self.path}: is used by another evaluation; name another with state="FILE"') from None
        except OSError:
            return
        # The other evaluation may have ended, and deleted what was opened here.
        if not os.path.exists(self.path) or not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
            raise OutputError(f"{self.path}: was deleted by another evaluation, which has just ended")

    def _check_head(self) -> int:
        """Return the length of the first line, which is written if the file is not of this evaluation."""
        self._file.seek(0)
        line = _checked_head(self.path, self._file)
        found: Any = None
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
        if isinstance(found, dict) and line.endswith(b"\n"):
            stated = cast("dict[str, Any]", found)
            self.changed = tuple(name for name, value in self._head.items() if stated.get(name) != value)
            if not self.changed:
                return len(line)
        self._file.truncate(0)
        return self._file.write((json.dumps(self._head) + "\n").encode("ascii"))


def check_state(path: Path) -> None:
    """Raise OutputError for a path that is there, but is not a file of results."""
    if not os.path.lexists(path):
        return
    try:
        # A pipe or a device may wait, or have no end.
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}")
        with path.open("rb") as file:
            _checked_head(path, file)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from None


def _checked_head(path: Path, file: BinaryIO) -> bytes:
    """The first line of a file, empty if the file is; raises OutputError if it is not of results."""
    line = file.readline(MAX_HEAD)
    if line and not (line.startswith(f'{{"{VERSION}":'.encode()) and len(line) < MAX_HEAD):
        raise OutputError(f"{path}: holds something else than results of an evaluation; it is not replaced")
    return line
