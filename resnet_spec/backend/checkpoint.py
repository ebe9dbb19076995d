"""What any reader of a weights file gives: the tensors as they stand there, and what lay beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by the names that the file has for them, in the file's own layout.

    ``averages`` are exponential moving averages, by the names of the tensors they average. ``ignored`` counts what was
    left out because it is no weight, by what it is (``optimizer slots``). ``widened`` names the tensors that the file
    keeps in a half precision that NumPy lacks (bfloat16). ``metadata`` is what the file says of itself, and
    ``remarks`` are sentences for the user, such as that normalizations are folded.
    """

    tensors: Mapping[str, NDArray[Any]]
    averages: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])
    widened: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    remarks: tuple[str, ...] = ()
