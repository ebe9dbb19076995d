"""Which format a weights file has, told by its bytes: a name may lack an ending, or have a wrong one."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
PICKLE = b"\x80\x02"
TABLE = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table in LevelDB's format: a checkpoint's index, or a whole one of TensorFlow before 0.12."""


def ending_of(path: Path) -> str:
    """The ending by which a file's format is known here, by its bytes where they tell, else that of its name."""
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
    if head.startswith(PICKLE):
        return ".pth"
    if tail == TABLE:
        return ".index" if path.suffix == ".index" else ".ckpt"
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
    """The file that a path means: itself, or the index of the TensorFlow checkpoint whose prefix it is."""
    # Not Path's own: that one raises where a name is too long.
    for file in (str(path), f"{path}.index"):
        if os.path.isfile(file):
            return Path(file)
    return None
