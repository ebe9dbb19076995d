"""Which images of a folder are found, in which order, and what is said of all else in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec.evaluating.folders import find_images
from tests.needs import need, posix

Lines = Callable[[Callable[[], object]], list[str]]


def make(root: Path, *names: str) -> Path:
    """A folder of empty files; only their names are looked at."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_images_are_sorted_within_sorted_classes_and_found_below_them(tmp_path: Path) -> None:
    root = make(tmp_path, "dog/b.JPEG", "dog/a.png", "cat/deep/er/z.webp", "cat/deep.jpg", "Ape/1.jpg")
    found = find_images(root)
    assert found.names == ("Ape", "cat", "dog")
    assert found.images == (
        ("Ape/1.jpg", 0), ("cat/deep/er/z.webp", 1), ("cat/deep.jpg", 1), ("dog/a.png", 2), ("dog/b.JPEG", 2),
    )  # fmt: skip
    assert found.path(4) == str(root / "dog" / "b.JPEG")
    assert found.notes == ()


@pytest.mark.slow
def test_classes_and_images_are_those_of_torchvision(tmp_path: Path) -> None:
    need("torchvision")
    from tests.oracles.torchvision_original import models

    models()
    from torchvision.datasets import ImageFolder

    root = make(tmp_path, "10/a.jpg", "9/c.png", "9/sub/b.tif", "a b/x.webp", "B/y.pgm", "Ä/y.bmp", "B/notes.txt")
    theirs, ours = ImageFolder(str(root)), find_images(root)
    assert [*ours.names] == theirs.classes
    pairs = [(str(root / name), place) for name, place in ours.images]
    assert sorted(pairs) == sorted((str(path), place) for path, place in theirs.samples)


@posix
def test_what_is_ignored_is_counted_and_named(tmp_path: Path) -> None:
    root = make(
        tmp_path, "cat/a.jpg", "cat/Thumbs.db", "cat/.DS_Store", "cat/._a.jpg", ".git/x.jpg", "dog/.keep", "top.jpg",
        "README.md",
    )  # fmt: skip
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    found = find_images(root)
    assert found.names == ("cat", "dog")
    assert found.images == (("cat/a.jpg", 0),)
    assert found.notes == (
        "1 image beside the folders of classes ignored: top.jpg",
        f"1 file without the ending of an image ignored: {root / 'cat' / 'Thumbs.db'}",
        f"2 links to a folder above not followed: {root / 'cat' / 'loop'}, {root / 'cat' / 'self'}",
        "1 folder without images: dog",
    )


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a.jpg")
    root = make(tmp_path / "root", "dog/b.jpg")
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    assert find_images(root).images == (("cat/a.jpg", 0), ("dog/b.jpg", 1))


@posix
def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    root = make(tmp_path, "cat/a.jpg")
    (root / "cat" / "one").symlink_to(root / "cat" / "two")
    (root / "cat" / "two").symlink_to(root / "cat" / "one")
    found = find_images(root)
    assert found.images == (("cat/a.jpg", 0),)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], ": has no folders; it must have one for each class, with the images in it"),
        (["a.jpg"], ": has no folders; it must have one for each class, with the images in it"),
        (["cat/notes.txt", "dog/x"], ": has no images in its 2 folders"),
    ],
)
def test_a_folder_without_images_is_an_error(tmp_path: Path, lines: Lines, names: list[str], line: str) -> None:
    root = make(tmp_path, *names)
    assert lines(lambda: find_images(root)) == [f"{root}{line}"]


def test_a_path_that_is_not_a_folder_is_an_error(tmp_path: Path, lines: Lines) -> None:
    file = make(tmp_path, "a.jpg") / "a.jpg"
    assert lines(lambda: find_images(file)) == [f"{file}: is not a folder"]
    assert lines(lambda: find_images(tmp_path / "b")) == [f"{tmp_path / 'b'}: no such folder"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything may be read")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path, lines: Lines) -> None:
    root = make(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (root / "dog").chmod(0)
    assert lines(lambda: find_images(root)) == [f"{root / 'dog'}: Permission denied"]
