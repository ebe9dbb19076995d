"""What people hold for weights is called by its name, with what to do about it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.weights.formats.not_weights import HEAD, MAX_MEMBERS, what_instead
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[[Callable[[], Any]], list[str]]

PAGE = "is a web page; download the file that it links to"
TEXT = "is a text, not weights: "


def tar(*names: str, form: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 600, 1.5
            archive.addfile(member, io.BytesIO(bytes(600)))
    return content.getvalue()


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


FILES = {
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102\n", "git lfs pull"),
    "a page": (b"<!DOCTYPE html>\n<html></html>", PAGE),
    "a page in capitals": (b"<HTML><HEAD>", PAGE),
    "a page after blank lines": (b"\xef\xbb\xbf\n\n  <!doctype html>", PAGE),
    "a server's error": (b"<?xml version='1.0'?><Error/>", "as servers send for errors; download the file again"),
    "nothing": (b"", "is an empty file"),
    "zeros": (bytes(HEAD), "begins with zeros only; its download or copy is incomplete"),
    "a message": (b"Not Found\n", f"{TEXT}'Not Found'"),
    "a sentence": (b"Access denied.", f"{TEXT}'Access denied.'"),
    "a spec": (b"# mine\nextends: resnet50\n", f"{TEXT}'# mine'"),
    "a document": (b"%PDF-1.7\n", "is a PDF document, not weights"),
    "an image": (b"\x89PNG\r\n\x1a\n", "is an image, not weights"),
    "gzip": (gzip.compress(b"weights", mtime=0), "is compressed; unpack it first: gunzip"),
    "bzip2": (bz2.compress(b"weights"), "is compressed; unpack it first: bunzip2"),
    "xz": (lzma.compress(b"weights"), "is compressed; unpack it first: unxz"),
    "broken gzip": (b"\x1f\x8b\x08\0\0", "is compressed; unpack it first: gunzip"),
    "tar": (tar("README", "a/best.pth"), "is a tar archive around a/best.pth; unpack it first: tar -xf"),
    "GNU tar": (tar("a.pth", form=tarfile.GNU_FORMAT), "is a tar archive around a.pth; unpack it first: tar -xf"),
    "tar of many": (
        tar(*(f"{n}.pt" for n in range(5))),
        "around 0.pt, 1.pt, 2.pt and 2 more; unpack it first: tar -xf",
    ),
    "tar.gz": (
        gzip.compress(tar("a/best.pth")),
        "is a compressed tar archive around a/best.pth; unpack it first: tar -xf",
    ),
    "zip": (zipped("readme.md", "a/best.pth"), "is a zip archive around a/best.pth; unpack it first: unzip"),
    "zip of a model's folder": (
        zipped("config.json", "model.safetensors"),
        "around model.safetensors; unpack it first: unzip",
    ),
    "zip of none": (zipped("notes"), "is a zip archive around notes; unpack it first: unzip"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ""])
def test_a_file_that_is_not_weights_is_reported_with_what_to_do(
    tmp_path: Path, lines: Lines, file: str, ending: str
) -> None:
    content, advice = FILES[file]
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)

    (line,) = lines(lambda: read_checkpoint(path))
    assert line.startswith(f"{path}: ")
    assert line.endswith(advice)


@pytest.mark.parametrize(
    "content",
    [
        b"(dp0\n.",
        b"(lp0\nS'a'\n.",
        b'{"weight_map": {}}',
        zipped("archive/data.pkl"),
        zipped("a.npy", "notes.txt"),
        zipped("config.json", "model.weights.h5"),
        tar("sys_info", "pickle", "storages", "tensors"),
        bytes(HEAD) + b"x" * 9,
    ],
)
def test_what_a_reader_may_read_is_left_to_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)

    assert what_instead(path) == "" or not any(content[:HEAD])


def test_an_archive_of_many_files_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(tar(*(f"{n}.txt" for n in range(2 * MAX_MEMBERS)), "a.pth", form=tarfile.USTAR_FORMAT))

    assert (
        what_instead(path)
        == f"is a tar archive around 0.txt, 1.txt, 2.txt and {MAX_MEMBERS - 3} more; unpack it first: tar -xf"
    )


def test_a_name_in_an_archive_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(zipped("\x1b[2J.pth"))

    assert "\x1b" not in what_instead(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["best.pth", "notes.txt"], "is a folder; give the path of a file in it: best.pth"),
        (["notes.txt"], "is a folder without weights"),
        (["__0_0.distcp"], "checkpoint without its .metadata; the process that wrote it was interrupted"),
    ],
)
def test_a_folders_files_are_named(tmp_path: Path, lines: Lines, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).touch()

    (line,) = lines(lambda: read_checkpoint(tmp_path))
    assert line.endswith(said)
