"""Writes files and folders atomically: to a temporary path beside the target, which is then renamed.

A symbolic link stays one: what it leads to is replaced, or made.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from resnet_spec.errors import OutputError
from resnet_spec.weights.formats.detection import IN_FOLDER, SAVED_MODEL

Report = Literal["HTML", "XML"]
"""The kinds of reports."""

_BEGINNINGS: dict[Report, tuple[bytes, ...]] = {"HTML": (b"<!doctype html",), "XML": (b"<?xml", b"<testsuite")}
"""How reports begin, in lowercase; those of other programs too."""


def check_target(path: Path, *, force: bool = False, report: Report | None = None) -> None:
    """Raise OutputError if ``path`` cannot be written: no folder, no permission, or it already exists.

    A ``report`` replaces a file of its kind, or an empty one, but no other: commands that write reports are run again
    and again, and a path that was mixed up may be that of weights.
    """
    folder = _target(path).parent
    try:
        if not folder.is_dir():
            raise OutputError(f"{path}: the folder {folder} does not exist")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: the folder {folder} is not writable")
        if report and path.exists():
            _check_report(path, report)
        elif path.exists() and not force:
            raise OutputError(f"{path} exists already; force=True replaces it")
        # Only a folder of a kind that this package writes may be replaced.
        if path.is_dir() and not any((path / name).is_file() for name in (SAVED_MODEL, *IN_FOLDER)):
            raise OutputError(f"{path} is a folder that holds no SavedModel or transformers model; it is not replaced")
        # To rename a file to the name of a device would replace the device.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OutputError(f"{path} is not a regular file; it is not replaced")
    except OSError as error:
        # A name that is too long, or a folder above that may not be entered.
        raise OutputError(f"{path}: {error.strerror}") from None


def _check_report(path: Path, kind: Report) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if head and not head.startswith(_BEGINNINGS[kind]):
            raise OutputError(f"{path} exists already and is not {kind}; it is not replaced")


def check_space(path: Path, size: int) -> None:
    """Raise OutputError if the disk has less than ``size`` bytes left: some libraries crash on a full one."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return
    if free < size:
        raise OutputError(f"{path}: needs {size / 2**20:.1f} MiB, but the disk has {free / 2**20:.1f} MiB left")


def ending(path: Path, known: Iterable[str]) -> str:
    """The longest of the ``known`` endings that a path has (``.weights.h5`` before ``.h5``), else its suffix."""
    having = [known for known in known if known and path.name.endswith(known)]
    return max(having, key=len, default=path.suffix)


def _target(path: Path) -> Path:
    """What is written: the path, or where it leads if it is a link."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


@contextmanager
def replacing(path: Path, *, force: bool = False, report: Report | None = None) -> Generator[Path]:
    """A temporary path for a file or a folder, with ``path``'s name; renamed to it when the block ends well.

    Raises OutputError if the target cannot be written. An incomplete file is always deleted.
    """
    check_target(path, force=force, report=report)
    target = _target(path)
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None
    try:
        temporary = scratch / path.name
        yield temporary
        _apply_umask(temporary)
        _swap(temporary, target, aside=scratch / f"{path.name}.replaced")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    except OutputError as error:
        # The writer knows only the temporary path.
        problems = [p._replace(message=p.message.replace(str(scratch / path.name), str(path))) for p in error.problems]
        raise OutputError(problems) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _apply_umask(path: Path) -> None:
    """Set the permissions of any new file: some libraries write files that only their owner may read."""
    if path.is_file():
        probe = path.with_name(f"{path.name}.mode")
        probe.touch()
        path.chmod(probe.stat().st_mode)


def _swap(new: Path, path: Path, aside: Path) -> None:
    """Rename ``new`` to ``path``; an existing folder is moved ``aside`` first, and moved back if that fails."""
    if not path.is_dir():
        new.replace(path)
        return
    path.rename(aside)
    try:
        new.replace(path)
    except BaseException:
        aside.rename(path)
        raise
