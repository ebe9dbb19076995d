"""Finds the images of a folder that has a folder for each class, as torchvision's ``ImageFolder`` does.

Unlike there, what a system or an editor leaves behind (hidden files and folders) is neither a class nor an image, and a
symbolic link to a folder above it is not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from resnet_spec.errors import ImageError, Problem, listed

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".pbm", ".pgm", ".ppm", ".pnm"}
    | {".tif", ".tiff", ".jp2", ".j2k", ".avif"}
)
"""Endings of images; a file with another ending is ignored, and counted."""


class ClassFolders(NamedTuple):
    """The images of a folder.

    Attributes:
        root: The folder.
        names: The folders in it, one for each class, sorted.
        images: The path of each image below ``root``, and the place of its class in ``names``; sorted.
        notes: What was ignored, a sentence each.
    """

    root: Path
    names: tuple[str, ...]
    images: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]

    def path(self, image: int) -> str:
        """Return the path of an image."""
        return str(self.root / self.images[image][0])


def find_images(root: str | Path) -> ClassFolders:
    """Find the images of each class.

    Args:
        root: A folder with a folder for each class; images may be in folders below that.

    Returns:
        The classes and their images.

    Raises:
        ImageError: There is no such folder, or no image in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ImageError(f"{root}: {'is not a folder' if root.exists() else 'no such folder'}")
    entries = _entries(root)
    names = [entry.name for entry in entries if entry.is_dir()]
    if not names:
        raise ImageError(f"{root}: has no folders; it must have one for each class, with the images in it")
    walk = _Walk()
    images = [
        (f"{name}/{path}", place) for place, name in enumerate(names) for path in walk.images(root / name, [root])
    ]
    if walk.problems:
        raise ImageError(walk.problems)
    if not images:
        raise ImageError(f"{root}: has no images in its {len(names)} folders")
    return ClassFolders(root, tuple(names), tuple(images), tuple(_notes(entries, names, images, walk)))


class _Walk:
    """A walk through the folder of a class and those below it, and what it left out."""

    def __init__(self) -> None:
        self.others: list[str] = []
        self.loops: list[str] = []
        self.problems: list[Problem] = []

    def images(self, folder: Path, above: list[Path], prefix: str = "") -> Iterator[str]:
        """Yield the paths of images below a folder, relative to that."""
        try:
            if any(os.path.samefile(folder, other) for other in above):
                self.loops.append(str(folder))
                return
            entries = _entries(folder)
        except ImageError as error:
            self.problems += error.problems
            return
        for entry in entries:
            if _is_folder(entry):
                yield from self.images(folder / entry.name, [*above, folder], f"{prefix}{entry.name}/")
            elif os.path.splitext(entry.name)[1].lower() in ENDINGS:
                yield f"{prefix}{entry.name}"
            else:
                self.others.append(f"{folder / entry.name}")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, sorted by name."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise ImageError(f"{folder}: {error.strerror or error}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself; to read it reports that.
        return False


def _notes(
    entries: list[os.DirEntry[str]], names: list[str], images: list[tuple[str, int]], walk: _Walk
) -> Iterator[str]:
    beside = [
        entry.name for entry in entries if not _is_folder(entry) and os.path.splitext(entry.name)[1].lower() in ENDINGS
    ]
    if beside:
        yield f"{_count(beside, 'image')} beside the folders of classes ignored: {listed(beside)}"
    if walk.others:
        yield f"{_count(walk.others, 'file')} without the ending of an image ignored: {listed(walk.others)}"
    if walk.loops:
        yield f"{_count(walk.loops, 'link')} to a folder above not followed: {listed(walk.loops)}"
    filled = {place for _, place in images}
    empty = [name for place, name in enumerate(names) if place not in filled]
    if empty:
        yield f"{_count(empty, 'folder')} without images: {listed(empty)}"


def _count(found: list[str], what: str) -> str:
    return f"{len(found):,} {what}{'s' * (len(found) != 1)}"
