"""Reads PyTorch's files without PyTorch, and other pickles of tensors and arrays; nothing in them is run.

A zip archive has a pickle and a member for each storage. It is read in one piece, of which the tensors are views. The
legacy format, of PyTorch before 1.6, is several pickles in a row followed by the storages.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from io import SEEK_END, BufferedIOBase, BufferedReader, BytesIO
from pathlib import Path
from struct import unpack
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.binary import reporting
from resnet_spec.weights.formats.buffers import mapped, read_aligned
from resnet_spec.weights.formats.flattening import PROGRAM, named_tensors
from resnet_spec.weights.formats.paddle import check_pieces, mark_bfloat16
from resnet_spec.weights.formats.pickled_numpy import numpy_table
from resnet_spec.weights.formats.pickled_torch import storage_type, torch_table
from resnet_spec.weights.formats.pickles import Global, Object, Unpickler, is_sequence
from resnet_spec.weights.formats.stored_tensors import NARROW, Storage, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SHARING = 4
"""Maximum size of all tensors, in multiples of the file's size; some tensors share their storage."""

SMALL = 2**20
"""Bytes up to which that size is not limited."""

_ZIP = b"PK\x03\x04"
_TAR, _TAR_PLACE = b"ustar", 257

_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the legacy format."""

_VERSION = 1001
"""The second pickle of the legacy format."""

MAX_REMARKS = 3
"""The most pickled models of a file that are named."""

_HEADER = 30
"""Bytes of a member's header in a zip archive, before its name."""


class _Content(NamedTuple):
    """The data of a file's pickle, and whether it is a TorchScript program's."""

    data: Any
    program: bool = False


def read_state_dict(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Return every tensor of a ``.pth``, ``.pt`` or ``.pkl`` file by its path, such as ``state_dict.conv1.weight``.

    The tensors of a state_dict have the names in it. NumPy's arrays are read too. Numbers, texts and objects of any
    class are skipped. Types that NumPy lacks become float32, exactly. ``mmap`` makes a zip archive's tensors a
    copy-on-write memory map.

    Raises WeightsError for a file that is broken, claims more than it has, or has no tensors under names.
    """
    with reporting(path, "is broken or incomplete"), path.open("rb") as file:
        size = file.seek(0, SEEK_END)
        file.seek(0)
        return _checkpoint(_read(file, size, mmap=mmap), size)


def read_tensor(file: BufferedIOBase, size: int) -> Tensor:
    """Return the tensor of a zip archive to which ``torch.save`` wrote nothing else.

    Raises ValueError or WeightsError if there is none.
    """
    tensor = _read_archive(file, size, mmap=False).data
    if not isinstance(tensor, Tensor):
        raise ValueError("it contains what is not a tensor")
    return tensor


def _checkpoint(content: _Content, size: int) -> Checkpoint:
    check_pieces(content.data)
    mark_bfloat16(content.data)
    tensors, models = named_tensors(content.data)
    if not tensors:
        raise WeightsError(_nothing_to_read(content))
    if "" in tensors:
        raise WeightsError("contains a tensor without a name instead of a state_dict (tensors by name)")
    readable = {name: tensor for name, tensor in tensors.items() if not tensor.kind}
    claimed = sum(tensor.nbytes for tensor in readable.values())
    if claimed > SMALL + MAX_SHARING * size:
        raise WeightsError(f"refused: its tensors need {claimed:,} bytes, but the file contains {size:,}")
    return Checkpoint(
        {name: tensor.array() for name, tensor in readable.items()},
        widened=frozenset(name for name, tensor in readable.items() if tensor.dtype in NARROW),
        unreadable={name: tensor.kind for name, tensor in tensors.items() if tensor.kind},
        remarks=tuple(_remark(place, kind) for place, kind in list(models.items())[:MAX_REMARKS]),
    )


def _nothing_to_read(content: _Content) -> str:
    if content.program:
        return (
            "is a TorchScript program without named tensors, as torch.jit.freeze makes it; "
            "save the state_dict() of the model that it was made from"
        )
    data = content.data
    kind = data.kind if isinstance(data, Object) else data.name if isinstance(data, Global) else type(data).__name__
    return f"contains an object of type {kind} without tensors instead of a state_dict (tensors by name)"


def _remark(place: str, kind: str) -> str:
    where = f" in {place!r}" if place else ""
    if kind.startswith(PROGRAM):
        name = re.sub(r"\.___torch_mangle_\d+", "", kind.removeprefix(PROGRAM))
        return f"is a TorchScript program ({name}){where}: only its tensors are read, not its code"
    return (
        f"{'contains' if place else 'is'} a whole pickled model ({kind}){where}: only its tensors are read; "
        "save model.state_dict() to keep a checkpoint that needs no code"
    )


def _read(file: BufferedReader, size: int, *, mmap: bool) -> _Content:
    head = file.read(_TAR_PLACE + len(_TAR))
    file.seek(0)
    if head.startswith(_ZIP):
        return _read_archive(file, size, mmap=mmap)
    if head.endswith(_TAR):
        raise WeightsError("is in PyTorch's oldest format, a tar archive, which cannot be read safely")
    return _Content(_read_pickles(file, size, [SMALL + MAX_SHARING * size]))


# -- the zip format ------------------------------------------------------------------------------------------------


def _read_archive(file: BufferedIOBase, size: int, *, mmap: bool) -> _Content:
    try:
        with zipfile.ZipFile(file) as directory:
            members = {member.filename: member for member in directory.infolist()}
    except zipfile.BadZipFile:
        raise ValueError("the directory at its end is missing or broken, as after an incomplete download") from None
    pickles = sorted((name for name in members if name.endswith("/data.pkl")), key=lambda name: name.count("/"))
    if not pickles:
        raise WeightsError("is a zip archive, but not PyTorch's (it has no data.pkl)")
    folder = pickles[0].removesuffix("data.pkl")
    file.seek(0)
    content = mapped(file) if mmap else read_aligned(file, size)

    def member(name: str) -> NDArray[np.uint8]:
        return _member(content, members[folder + name])

    program = member("data.pkl").tobytes()
    checksum = members[pickles[0]].CRC
    # Without checksums, which PyTorch can omit, it is 0.
    if checksum and checksum != zlib.crc32(program):
        raise ValueError("its data.pkl has another checksum")
    storages: dict[str, NDArray[np.uint8]] = {}

    def persistent(identifier: Any) -> Any:
        kind, key, _, count = _storage_identifier(identifier)[:4]
        dtype, width = storage_type(kind)
        if key not in storages:
            storages[key] = member(f"data/{key}")
        if not 0 <= count * width <= len(storages[key]):
            raise ValueError("a storage is larger than its member of the archive")
        return Storage(dtype, count * width, storages[key])

    big_endian = folder + "byteorder" in members and member("byteorder").tobytes() == b"big"
    table = {**numpy_table(), **torch_table(_nested, big_endian=big_endian)}
    data = Unpickler(BytesIO(program), len(program), table, persistent).load()
    return _Content(data, program=folder + "constants.pkl" in members)


def _member(content: NDArray[np.uint8], member: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """The bytes of an archive's member, whose own header has to agree with the directory's."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise WeightsError("refused: it is compressed, which PyTorch's files are not")
    start = member.header_offset
    header = content[start : start + _HEADER].tobytes()
    name_length, extra_length = unpack("<HH", header[26:])
    begin = start + _HEADER + name_length
    name = content[start + _HEADER : begin].tobytes().decode("utf-8" if member.flag_bits & 0x800 else "cp437")
    end = begin + extra_length + member.file_size
    if not header.startswith(_ZIP) or name != member.orig_filename or end > len(content):
        raise ValueError("its directory and its members differ")
    return content[begin + extra_length : end]


# -- the legacy format, and other pickles --------------------------------------------------------------------------


def _read_pickles(file: BufferedIOBase, size: int, copies_left: list[int]) -> Any:
    """The data of a file in the legacy format, or of any other pickle; ``copies_left`` limits files within files."""

    def load_from_bytes(content: Any) -> Any:
        if not isinstance(content, bytes):
            raise ValueError("a storage has no content")
        copies_left[0] -= len(content)
        if copies_left[0] < 0:
            raise ValueError("its pickle copies the same data again and again")
        # A file within a file within a file would go on without end.
        return _read_pickles(BytesIO(content), len(content), [0])

    table = {**numpy_table(), **torch_table(load_from_bytes)}
    first = Unpickler(file, size, table).load()
    if type(first) is not int or first != _MAGIC:
        return first
    version, _ = (Unpickler(file, size, table).load() for _ in range(2))
    if version != _VERSION:
        raise ValueError("it is in an unknown version of PyTorch's legacy format")
    storages = _LegacyStorages()
    data = Unpickler(file, size, table, storages.find).load()
    storages.read(file, size, Unpickler(file, size, table).load())
    return data


class _LegacyStorages:
    """The storages of a file in the legacy format, which are named in its pickle and follow it."""

    def __init__(self) -> None:
        self._whole: dict[str, Storage] = {}
        self._widths: dict[str, int] = {}
        self._parts: list[tuple[Storage, Storage, int]] = []

    def find(self, identifier: Any) -> Any:
        """Return the storage of an identifier, or the class of a module, which is named with its source code."""
        if identifier[0] == "module":
            return identifier[1]
        kind, key, _, count, *part = _storage_identifier(identifier)
        dtype, width = storage_type(kind)
        if key not in self._whole:
            self._whole[key] = Storage(dtype, count * width)
            self._widths[key] = width
        whole = self._whole[key]
        if not part or part[0] is None:
            return whole
        _, start, length = part[0]
        if not 0 <= start <= start + length <= whole.size // width:
            raise ValueError("a part of a storage is larger than the storage")
        found = Storage(dtype, length * width)
        self._parts.append((found, whole, start * width))
        return found

    def read(self, file: BufferedIOBase, size: int, keys: Any) -> None:
        """Read the storages in the order of their keys."""
        for key in keys:
            storage = self._whole[key]
            count = int.from_bytes(file.read(8), "little")
            if count * self._widths[key] != storage.size or storage.size > size - file.tell():
                raise EOFError("a storage is incomplete")
            storage.data = read_aligned(file, storage.size)
        for part, whole, start in self._parts:
            part.data = whole.buffer()[start : start + part.size]


def _storage_identifier(identifier: Any) -> tuple[Any, ...]:
    """The parts of an identifier: class, key, device, size and, in the legacy format, part."""
    if not is_sequence(identifier) or len(identifier) < 5 or identifier[0] != "storage":
        raise ValueError("it refers to an object that is not a storage")
    if not isinstance(identifier[2], str) or type(identifier[4]) is not int or identifier[4] < 0:
        raise ValueError("a storage has no possible size")
    return tuple(identifier[1:])


def _nested(_: Any) -> Any:
    raise ValueError("it has a file within the file, where PyTorch has none")
