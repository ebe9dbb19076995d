"""Keeps what is known of each image in a file while an evaluation runs, so that it continues where it was ended.

The first line states what the results depend on, and each further line has those of one batch. A file of another
evaluation is replaced, and a line that was not written to its end is dropped with all after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from resnet_spec.errors import OutputError

VERSION = "evaluation"
"""The first key of a file; its value is the version of the format."""


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
        self._head = {VERSION: "1", **subject}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            end = self._check_head()
            self._file = self.path.open("r+b" if end else "w+b")
            self._start = end or self._file.write(_line(self._head))
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yield what was recorded, in order; what is recorded next follows the last of these."""
        self._file.seek(self._start)
        end, wanted = self._start, 0
        for line in self._file:
            batch = _parsed(line)
            # A batch that is there twice, or one that is missing, would count images twice or never.
            if batch is None or batch.get("first") != wanted:
                break
            wanted += batch["count"]
            end += len(line)
            yield batch
        self._file.seek(end)
        self._file.truncate()

    def record(self, batch: Mapping[str, Any]) -> None:
        """Append the results of a batch."""
        try:
            self._file.write(_line(batch))
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from None

    def remove(self) -> None:
        """Delete the file: everything is known."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self.path)

    def _check_head(self) -> int:
        """Return the length of the first line if the file is of this evaluation, else 0."""
        if not os.path.lexists(self.path):
            return 0
        with self.path.open("rb") as file:
            line = file.readline()
        if line and not line.startswith(f'{{"{VERSION}"'.encode()):
            raise OutputError(f"{self.path}: holds something else than results of an evaluation; it is not replaced")
        found = _parsed(line)
        if found is None:
            return 0
        self.changed = tuple(name for name, value in self._head.items() if found.get(name) != value)
        return 0 if self.changed else len(line)


def _line(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data) + "\n").encode("ascii")


def _parsed(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError):
        data: Any = json.loads(line)
        if isinstance(data, dict) and line.endswith(b"\n"):
            return cast("dict[str, Any]", data)
    return None
