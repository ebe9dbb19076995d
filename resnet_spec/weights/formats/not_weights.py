"""Says what a file is that people take for weights and that is none, and what to do: a web page, an archive around one.

Nothing is unpacked: of a compressed file only the first bytes are looked at.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from resnet_spec.errors import listed, shown
from resnet_spec.weights.formats.detection import DCP, DCP_METADATA, EXPORTED

HEAD = 4096
"""Bytes of a file's beginning that are looked at."""

MAX_MEMBERS = 64
"""Members of a tar archive that are looked at."""

MAX_FILES = 10_000
"""Files of a folder that are looked at."""

NAMED = 3
"""Members or files that a message names."""

LONG = 60
"""The length of a name that a message shortens."""

ENDINGS = (
    ".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".h5", ".hdf5", ".keras", ".onnx", ".npz", ".msgpack",
    ".params", ".pdparams", ".pb", ".caffemodel", ".index",
)  # fmt: skip
"""The usual endings of weights files, by which an archive's members and a folder's files are chosen."""


class _Kind(NamedTuple):
    """A format that holds no weights: its first bytes, and what a message says of it."""

    starts: tuple[bytes, ...]
    what: str


_KINDS = (
    _Kind((b"version https://git-lfs",), "is a pointer of Git LFS, not the file itself; fetch it: git lfs pull"),
    _Kind((b"\x28\xb5\x2f\xfd",), "is compressed; unpack it first: unzstd"),
    _Kind((b"7z\xbc\xaf\x27\x1c",), "is an archive of 7-Zip; unpack it first"),
    _Kind((b"Rar!",), "is an archive of RAR; unpack it first"),
    _Kind((b"%PDF-",), "is a PDF document, not weights"),
    _Kind((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8"), "is an image, not weights"),
)

_PAGES = (b"<!doctype html", b"<html", b"<head", b"<!--")

_TEXT_PICKLES = (b"(", b"c", b"]", b"}")
"""How pickles in text start; they end in a dot."""

_COMPRESSED: Mapping[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gunzip", gzip.GzipFile),
    b"BZh": ("bunzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("unxz", lzma.LZMAFile),
}

_BLOCK, _TAR, _TAR_PLACE, _FILE = 512, b"ustar", 257, b"0\0"
_PYTORCHS_TAR = frozenset({"sys_info", "pickle", "storages", "tensors"})


def what_instead(path: Path) -> str:
    """What a file is that is certainly not weights, and what to do about it; empty if it may be weights."""
    if os.path.isdir(path):
        return ""
    with path.open("rb") as file:
        head = file.read(HEAD)
        if _is_tar(head):
            return _around("tar -xf", "a tar archive", list(_tar_members(file)))
    if not head:
        return "is an empty file"
    for kind in _KINDS:
        if head.startswith(kind.starts):
            return kind.what
    for start, (command, open_it) in _COMPRESSED.items():
        if head.startswith(start):
            return _in_compressed(path, command, open_it)
    # Of PyTorch's and NumPy's files, which may have many members, the first tells.
    if head.startswith(b"PK\3\4") and not head[30 : 30 + head[26]].endswith((b"/data.pkl", b".npy")):
        return _in_zip(path)
    if len(head) == HEAD and not any(head):
        return "begins with zeros only; its download or copy is incomplete"
    return _text(head)


def files_in(folder: Path) -> str:
    """What to do with a folder that has no weights in a known layout, by its files; empty if none of them is known."""
    try:
        names = sorted(entry.name for entry in islice(os.scandir(folder), MAX_FILES) if entry.is_file())
    except OSError:
        return ""
    if any(name.endswith(DCP) for name in names):
        return f" of torch.distributed.checkpoint without its {DCP_METADATA}; the process that wrote it was interrupted"
    found = [name for name in names if name.lower().endswith(ENDINGS)]
    return f"; give the path of a file in it: {_listed(found)}" if found else ""


def _text(head: bytes) -> str:
    """What a text is; empty for bytes that are none, and for formats that are text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:64].lower().startswith(_PAGES):
        return "is a web page; download the file that it links to"
    if start.startswith(b"<?xml"):
        return "is an XML document, as servers send for errors; download the file again"
    if len(head) == HEAD or start.startswith(b"{") or (start.startswith(_TEXT_PICKLES) and head.endswith(b".")):
        return ""
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError:
        return ""
    line = next((line.strip() for line in lines if line.strip()), "")
    readable = all(part.strip("\r\t").isprintable() for part in lines)
    return f"is a text, not weights: {shown(line)}" if readable and len(line) > 1 else ""


# -- archives ------------------------------------------------------------------------------------------------------


def _around(command: str, what: str, names: Sequence[str]) -> str:
    if not _PYTORCHS_TAR.isdisjoint(names):
        return ""
    found = [name for name in names if name.lower().endswith(ENDINGS)] or names
    return f"is {what}{f' around {_listed(found)}' if found else ''}; unpack it first: {command}"


def _listed(names: Sequence[str]) -> str:
    return listed((name if name.isprintable() and len(name) < LONG else shown(name) for name in names), NAMED)


def _is_tar(head: bytes) -> bool:
    return head[_TAR_PLACE:].startswith(_TAR)


def _in_zip(path: Path) -> str:
    """Advice on a zip archive that is no format's own."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return ""
    known = any(name.endswith(("/data.pkl", ".npy")) or EXPORTED.fullmatch(name) for name in names)
    if known or "model.weights.h5" in names:
        return ""
    return _around("unzip", "a zip archive", names)


def _in_compressed(path: Path, command: str, open_it: Callable[[Path], Any]) -> str:
    try:
        with open_it(path) as file:
            head = file.read(HEAD)
    except (OSError, EOFError, lzma.LZMAError):
        head = b""
    if not _is_tar(head):
        return f"is compressed; unpack it first: {command}"
    return _around("tar -xf", "a compressed tar archive", list(_tar_members(BytesIO(head))))


def _tar_members(file: BinaryIO) -> Iterator[str]:
    """The names of a tar archive's first files, by its headers only."""
    position = 0
    for _ in range(MAX_MEMBERS):
        file.seek(position)
        header = file.read(_BLOCK)
        size = header[124:136].rstrip(b"\0 ")
        if not _is_tar(header) or not size.isdigit():
            return
        if name := _member(header):
            yield name
        position += _BLOCK * (1 - -int(size, 8) // _BLOCK) if set(size) <= set(b"01234567") else file.seek(0, 2)


def _member(header: bytes) -> str:
    """The name in the header of a file; empty for a folder, or the header of a name that is too long for one."""
    return header[:100].rstrip(b"\0").decode("utf-8", "replace") if header[156:157] in (b"0", b"\0") else ""
