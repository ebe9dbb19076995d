"""Detects the format of a weights file or folder by its bytes, since its name may have no ending or a wrong one."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
PICKLES = b"\x80\x02", b"\x80\x03", b"\x80\x04"
"""The first bytes of a pickle, by its protocol; a legacy checkpoint of PyTorch is a sequence of several."""
TABLE = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table in LevelDB's format: a checkpoint's index, or a whole one of TensorFlow before 0.12."""

BLOCK = 2**20
"""Bytes read at a time when a file is searched."""

SAVED_MODEL = "saved_model.pb"

INDEX = ".safetensors.index.json"

IN_FOLDER = (f"model{INDEX}", "model.safetensors", "pytorch_model.bin")
"""Names of the weights in a model's folder of Hugging Face's libraries."""


def ending_of(path: Path) -> str:
    """The ending of a file's format, by its bytes if they decide it, else by its name; empty for a SavedModel."""
    if os.path.isdir(path):
        return ""
    with path.open("rb") as file:
        head = file.read(9)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(TABLE)))
        tail = file.read()
    # First, since the length of its header may be any bytes; as a length, those of the others are too large.
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return ".safetensors"
    if head.startswith(HDF5):
        return ".h5"
    if head.startswith(ZIP):
        return _archive(path) or path.suffix
    if head.startswith(PICKLES):
        return ".pth"
    if tail == TABLE:
        return ".index" if path.suffix == ".index" else ".ckpt"
    if head.lstrip()[:1] == b"{":
        return INDEX
    # ONNX starts with its version, a small number in field 1; an old one of another kind does not start so.
    if len(head) == 9 and head[0] == 8 and 1 <= head[1] < 32 and path.suffix != ".index":
        return ".onnx"
    return path.suffix


def _archive(path: Path) -> str | None:
    """Keras and PyTorch both write zip archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    if "config.json" in names:
        return ".keras"
    return ".pth" if any(name.endswith("/data.pkl") for name in names) else None


def find_file(path: Path) -> Path | None:
    """The file or SavedModel that a path means.

    It is the path itself, the weights in a folder of Hugging Face's layout, or the index of the TensorFlow checkpoint
    whose prefix it is.
    """
    # Path.is_file raises OSError if a name is too long.
    for file in (str(path), f"{path}.index"):
        if os.path.isfile(file):
            return Path(file)
    if os.path.isfile(path / SAVED_MODEL):
        return path
    return next((path / name for name in IN_FOLDER if os.path.isfile(path / name)), None)


def inside(folder: Path, file: Path) -> bool:
    """Whether a file, with symbolic links resolved, is inside a folder.

    Links into the folder ``blobs`` beside ``snapshots`` count as inside: Hugging Face's cache stores files there.
    """
    target, home = file.resolve(), folder.resolve()
    cache = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    return target.is_relative_to(home) or target.is_relative_to(cache)


def occurrences(file: BinaryIO, pattern: bytes) -> list[int]:
    """Every place of a file at which a pattern starts, found without a memory map: a file may become shorter."""
    found: list[int] = []
    position, kept = file.seek(0), b""
    while block := file.read(BLOCK):
        content = kept + block
        start = content.find(pattern)
        while start >= 0:
            found.append(position - len(kept) + start)
            start = content.find(pattern, start + 1)
        position += len(block)
        kept = content[max(0, len(content) - len(pattern) + 1) :]
    return found
