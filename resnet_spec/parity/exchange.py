"""Exchange arrays between processes: a folder with a file for each array, and an index of their names in order.

A single archive would be slower, because of its checksums.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def save_arrays(folder: Path, arrays: Mapping[Any, ArrayLike]) -> None:
    """Save arrays in a folder, replacing those saved there before."""
    import numpy as np

    folder.mkdir(exist_ok=True)
    for number, array in enumerate(arrays.values()):
        np.save(folder / f"{number}.npy", array)
    (folder / "index.json").write_text(json.dumps([str(name) for name in arrays]), "utf-8")


def load_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Load the arrays saved last in a folder, by name, in order; they are read, not mapped."""
    import numpy as np

    names: list[str] = json.loads((folder / "index.json").read_text("utf-8"))
    return {name: np.load(folder / f"{number}.npy") for number, name in enumerate(names)}


class Scratch:
    """New paths in a folder, each used once.

    Another process may have mapped a file; replacing its content would change that process's arrays or crash it, and
    Windows refuses to write it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count()
        self._last: dict[str, Path] = {}

    def new(self, name: str) -> Path:
        """Return the path of a new file, and delete the last file of that name, which must have been read."""
        if name in self._last:
            # Windows cannot delete a mapped file; it is deleted with the folder.
            with suppress(OSError):
                self._last[name].unlink(missing_ok=True)
        self._last[name] = self.folder / f"{next(self._numbers)}-{name}"
        return self._last[name]
