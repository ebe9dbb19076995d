"""A file read piece by piece within its bounds, and the report of one that is broken; shared by binary formats."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from resnet_spec.errors import MissingLibraryError, WeightsError, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray


MAX_REASON = 200
"""Characters of the reason in a message."""


class InvalidFileError(Exception):
    """A file, or a part of one, is invalid or incomplete."""


@contextmanager
def reporting(path: Path, what: str) -> Generator[None]:
    """Raise whatever goes wrong inside as a WeightsError: ``path: what (reason)``, such as ``is not a complete file``.

    A broken file fails in as many ways as there are bytes to break.
    """
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except MissingLibraryError as error:
        raise MissingLibraryError(f"{path}: {error}") from None
    except RecursionError:
        raise WeightsError(f"{path}: {what} (it is nested too deep)") from None
    except OSError as error:
        raise WeightsError(f"{path}: {what} ({error.strerror or error})") from None
    except MemoryError:
        raise WeightsError(f"{path}: needs more memory than there is") from None
    except Exception as error:
        raise WeightsError(f"{path}: {what} ({_reason(error)})") from None


def nothing_readable(unreadable: Mapping[str, str], what: str) -> WeightsError:
    """The error of a file without tensors but those that NumPy cannot represent, by name, each with its kind."""
    first = next((f"only {shown(name)}, stored as {kind}" for name, kind in unreadable.items()), f"no {what}")
    return WeightsError(f"holds {first}")


def _reason(error: Exception) -> str:
    """Why a file is broken, of an error that may be Python's own."""
    if isinstance(error, TypeError | AttributeError | IndexError):
        return "a part of it is not what the format has in its place"
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if key is not None and not (isinstance(key, str) and " " in key):
        return f"it lacks {shown(key)}"
    text = str(key or error).strip().split("\n")[0]
    return shorten(text, MAX_REASON, placeholder=" …") or type(error).__name__


class BinaryFile:
    """Reads parts of a file by position. It reads and does not map: a file may change meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``; raises InvalidFileError if the file ends before."""
        self._check(end)
        self.file.seek(start)
        data = self.file.read(end - start)
        if len(data) < end - start:
            raise InvalidFileError(f"it ends at byte {start + len(data)}")
        return data

    def array(self, name: str, start: int, end: int, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
        """The bytes as an array in memory of its own; raises InvalidFileError unless they are what its shape needs."""
        import numpy as np

        wanted, length = byte_count(name, dtype, shape), end - start
        if wanted != length:
            message = f"has {length} bytes, but its shape {list(shape)} needs another number"
            raise InvalidFileError(f"{name!r} {message}")
        self._check(end)
        try:
            array: NDArray[Any] = np.empty(tuple(shape), dtype)
        except ValueError as error:
            raise InvalidFileError(f"{name!r}: {error}") from None
        self.file.seek(start)
        self._fill(name, array.reshape(-1).view(np.uint8))
        return array

    def _fill(self, name: str, data: NDArray[np.uint8]) -> None:
        filled = 0
        # One call reads at most 2 GiB.
        while filled < data.size:
            count: int = cast("Any", self.file).readinto(data[filled:].data)
            if not count:
                raise InvalidFileError(f"it ends inside {name!r}")
            filled += count

    def _check(self, end: int) -> None:
        if end > self.size:
            raise InvalidFileError(f"it ends at byte {self.size}, before byte {end}")


def byte_count(name: str, dtype: DTypeLike, shape: Sequence[int]) -> int:
    """How many bytes an array needs; raises InvalidFileError for a shape that no array has."""
    import numpy as np

    if any(length < 0 for length in shape):
        raise InvalidFileError(f"{name!r} has the shape {list(shape)}")
    return prod(shape) * np.dtype(dtype).itemsize
