"""Arrays that two processes hand each other: a folder with a file each, and an index that gives their order.

Not one archive, whose checksums take longer than all the rest of a comparison's bookkeeping.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def leave(folder: Path, arrays: Mapping[Any, ArrayLike]) -> None:
    """Leave arrays in a folder, in the place of those that were left there before."""
    import numpy as np

    folder.mkdir(exist_ok=True)
    for number, array in enumerate(arrays.values()):
        np.save(folder / f"{number}.npy", array)
    (folder / "index.json").write_text(json.dumps([str(name) for name in arrays]))


def left(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays that were left in a folder last, by name, in order."""
    import numpy as np

    names: list[str] = json.loads((folder / "index.json").read_text())
    return {name: np.load(folder / f"{number}.npy") for number, name in enumerate(names)}
