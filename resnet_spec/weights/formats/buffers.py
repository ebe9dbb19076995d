"""A file's bytes in one aligned buffer or in a memory map, of which tensors are views, and how large they may be."""

from __future__ import annotations

from io import BufferedIOBase, RawIOBase
from typing import TYPE_CHECKING

from resnet_spec.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes at a multiple of which a buffer starts: what PyTorch computes with is aligned to 64."""

MAX_EXPANSION = 20
"""The largest ratio of an array's or member's size to its size in the file; weights hardly compress."""

SMALL = 2**20
"""Bytes up to which that ratio is not limited: a bias of zeros compresses to almost nothing."""


def aligned(size: int) -> NDArray[np.uint8]:
    """Return an uninitialized buffer that starts at a multiple of ``ALIGNMENT``."""
    import numpy as np

    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size]


def read_aligned(file: RawIOBase | BufferedIOBase, size: int) -> NDArray[np.uint8]:
    """Read the next ``size`` bytes of a file, which the file must have, into an aligned buffer."""
    data = aligned(size)
    filled = 0
    # One call reads at most 2 GiB.
    while filled < size:
        count = file.readinto(data[filled:].data)
        if not count:
            raise ValueError("it became shorter while it was read")
        filled += count
    return data


def mapped(file: RawIOBase | BufferedIOBase) -> NDArray[np.uint8]:
    """Map a file copy-on-write; the map outlives the file object."""
    from mmap import ACCESS_COPY, mmap

    import numpy as np

    return np.frombuffer(mmap(file.fileno(), 0, access=ACCESS_COPY), np.uint8)


def refuse_bomb(name: str, size: int, stored: int) -> None:
    """Raise WeightsError for compressed data that claims far more than the file has."""
    if size > SMALL + MAX_EXPANSION * stored:
        raise WeightsError(f"refused: {name} claims {size:,} bytes, of which the file holds {stored:,}")
