"""Detects the format of a weights file or folder by its bytes, since its name may have no ending or a wrong one."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from resnet_spec.weights.formats.binary import InvalidFileError
from resnet_spec.weights.formats.protobuf import BYTES, VARINT, Field, Walk

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
PICKLES = (
    *(bytes([0x80, protocol]) for protocol in range(2, 6)),
    *(b"(dp0\n", b"(dp1\n", b"}q\0(", b"}q\1(", b"ccollecti"),
)
"""The first bytes of pickles: of protocols 2 to 5, and of mappings in protocols 0 and 1.

A legacy checkpoint of PyTorch is a sequence of several pickles.
"""
NPY = b"\x93NUMPY"
TABLE = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table in LevelDB's format: a checkpoint's index, or a whole one of TensorFlow before 0.12."""

HEAD = 24
"""Bytes of a file's beginning that are looked at."""

_MAP_OF_NAMES = re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa0-\xbf]|\xd9.|\xda..)", re.DOTALL)
"""How msgpack starts if it is a map whose keys are text."""

CAFFE_LAYERS: Mapping[int, set[tuple[int, int]]] = {100: {(1, BYTES), (2, BYTES)}, 2: {(4, BYTES), (5, VARINT)}}
"""The fields of a network of Caffe that are layers, and those of a layer that are its name and its type."""

MAX_FIRST, MAX_WORD = 64, 64
"""Fields that are looked at, and the most bytes of an operation's name."""

BLOCK = 2**20
"""Bytes read at a time when a file is searched."""

SAVED_MODEL = "saved_model.pb"

EXPORTED = re.compile(r"[^/]+/models/[^/]+\.json")
"""The member of a zip archive that is a program of ``torch.export``."""

INDEX = ".safetensors.index.json"

ORBAX, ORBAX_METADATA = ".orbax", "_METADATA"
"""The format of Orbax's folders, and the file that tells them apart."""

OCDBT = ".ocdbt"
"""The ending of the index in an Orbax folder."""

DCP, DCP_METADATA = ".distcp", ".metadata"
"""The format of the folders of ``torch.distributed.checkpoint``, and the file that tells them apart."""

MXNET = bytes.fromhex("1201000000000000" + "00" * 8)
"""The first bytes of MXNet's parameters: a number, and another that is reserved."""

IN_FOLDER = (f"model{INDEX}", "model.safetensors", "pytorch_model.bin")
"""Names of the weights in a model's folder of Hugging Face's libraries."""


def ending_of(path: Path) -> str:
    """The ending of a file's format, by its bytes if they decide it, else by its name; empty for a SavedModel."""
    if os.path.isdir(path):
        marks = {ORBAX_METADATA: ORBAX, DCP_METADATA: DCP}
        return next((ending for name, ending in marks.items() if os.path.isfile(path / name)), "")
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(TABLE)))
        tail = file.read()
    # First, since the length of its header may be any bytes; as a length, those of the others are too large.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return ".safetensors"
    if head.startswith(HDF5):
        return ".h5"
    if head.startswith(ZIP):
        return _archive(path) or path.suffix
    if head.startswith(PICKLES):
        return ".pth"
    if head.startswith(NPY):
        return ".npy"
    if tail == TABLE:
        return ".index" if path.suffix == ".index" else ".ckpt"
    if head.lstrip()[:1] == b"{":
        return INDEX
    if head.startswith(MXNET):
        return ".params"
    return ".msgpack" if _MAP_OF_NAMES.match(head) else _protobuf(path) or path.suffix


def _protobuf(path: Path) -> str | None:
    """Protobuf has no mark of its own: the first fields of a message show what it is."""
    with path.open("rb") as file:
        walk = Walk(file)
        fields = islice(_fields(walk, 0, walk.size), MAX_FIRST)
        first = next(fields, None)
        if first is None:
            return None
        # ONNX starts with its version, a small number in field 1; so does a SavedModel, and goes on with a message.
        if (first.number, first.kind) == (1, VARINT) and 1 <= first.integer < 32:
            graph = next(fields, None)
            return SAVED_MODEL if graph and graph.number == 2 and _starts(walk, graph, b"\n") else ".onnx"
        if (first.number, first.kind) == (1, BYTES) and _is_node(walk, first):
            return ".pb"
        return ".caffemodel" if any(_is_layer(walk, field) for field in (first, *fields)) else None


def _fields(walk: Walk, start: int, end: int) -> Iterator[Field]:
    """The fields of a message as far as it is one."""
    with suppress(InvalidFileError):
        yield from walk.fields(start, end)


def _starts(walk: Walk, field: Field, content: bytes) -> bool:
    return field.kind == BYTES and walk.read(field.value, min(field.end, field.value + len(content))) == content


def _is_node(walk: Walk, field: Field) -> bool:
    """Whether a field is a node of TensorFlow: a name, then an operation, which is a word."""
    parts = list(islice(_fields(walk, *field.span), 2))
    if [(part.number, part.kind) for part in parts] != [(1, BYTES), (2, BYTES)]:
        return False
    word = walk.read(parts[1].value, min(parts[1].end, parts[1].value + MAX_WORD))
    return word.isalnum() or word.replace(b"_", b"").isalnum()


def _is_layer(walk: Walk, field: Field) -> bool:
    """Whether a field is a layer of Caffe with a name and a type."""
    wanted = CAFFE_LAYERS.get(field.number)
    if field.kind != BYTES or wanted is None:
        return False
    return wanted <= {(part.number, part.kind) for part in islice(_fields(walk, *field.span), MAX_FIRST)}


def _archive(path: Path) -> str | None:
    """Keras, PyTorch and NumPy all write zip archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    if "config.json" in names:
        return ".keras"
    if any(name.endswith("/data.pkl") for name in names):
        return ".pth"
    if any(map(EXPORTED.fullmatch, names)):
        return ".pt2"
    return ".npz" if any(name.endswith(".npy") for name in names) else None


def find_file(path: Path) -> Path | None:
    """The file or SavedModel that a path means.

    It is the path itself, the weights in a folder of Hugging Face's layout, or the index of the TensorFlow checkpoint
    whose prefix it is.
    """
    # Path.is_file raises OSError if a name is too long.
    for file in (str(path), f"{path}.index"):
        if os.path.isfile(file):
            return Path(file)
    if any(os.path.isfile(path / name) for name in (SAVED_MODEL, ORBAX_METADATA)):
        return path
    file = next((path / name for name in IN_FOLDER if os.path.isfile(path / name)), None)
    if file or not os.path.isdir(path):
        return file
    if os.path.isfile(path / DCP_METADATA):
        return path
    folders = orbax_folders(path)
    return folders[0] if len(folders) == 1 else None


def orbax_folders(path: Path) -> list[Path]:
    """Orbax checkpoints in a folder: a step's items, or the steps of a CheckpointManager with theirs."""
    try:
        metadata = islice(chain(path.glob(f"*/{ORBAX_METADATA}"), path.glob(f"*/*/{ORBAX_METADATA}")), MAX_FIRST)
        return sorted(file.parent for file in metadata if os.path.isfile(file))
    except OSError:
        return []


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
