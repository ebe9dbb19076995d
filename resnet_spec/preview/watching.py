"""Notices when files change, by their size and time: polling works on every system and file system, and any editor."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import TypeAlias

from resnet_spec.preview.content import Content, read
from resnet_spec.spec.dependencies import files

INTERVAL = 0.01
"""Seconds between two looks at the files."""

Stamp: TypeAlias = tuple[int, int, int] | None
"""Inode, size and time of a file; None for a file that is not there."""


class Watched:
    """Spec files and what is shown of each, which a thread keeps current.

    Args:
        paths: The specs.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [_File(path) for path in paths]
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    @property
    def contents(self) -> list[Content]:
        """What is shown of each spec."""
        return [file.content for file in self._files]

    @property
    def versions(self) -> list[int]:
        """A number for each spec, which grows with every change, and is none of an earlier preview's."""
        return [file.version for file in self._files]

    def start(self) -> None:
        """Begin to follow the files."""
        self._thread.start()

    def end(self) -> None:
        """Stop following the files, and wake everyone who waits."""
        self._ended.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def wait(self, seen: Sequence[int], timeout: float) -> list[int] | None:
        """Wait until a spec has another version than was ``seen``.

        Returns:
            The versions; the same as ``seen`` after ``timeout`` seconds, and None at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended.is_set() or self.versions != list(seen), timeout)
            return None if self._ended.is_set() else self.versions

    def _follow(self) -> None:
        while not self._ended.wait(INTERVAL):
            for file in self._files:
                if file.has_settled():
                    file.read()
                    with self._changed:
                        file.version += 1
                        self._changed.notify_all()


class _File:
    """A spec and what is shown of it; ``stamps`` are those of the files that it was made from."""

    def __init__(self, path: Path) -> None:
        self.content = Content(path)
        self.version = time_ns()
        self.read()

    def read(self) -> None:
        # The stamps first: what changes while it is read is read again.
        self.stamps = self.last = _stamps(files(self.content.path))
        self.content = read(self.content.path, self.content)

    def has_settled(self) -> bool:
        """Whether the files have changed, but not since the last look: an editor may empty a file before it writes."""
        before, self.last = self.last, _stamps(self.stamps)
        return self.stamps != self.last == before


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None
