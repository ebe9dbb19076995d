"""What every reader of a weights file returns: its tensors, unchanged, and what else it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by the names that the file has for them, in the file's own layout.

    Attributes:
        tensors: The weights.
        averages: Exponential moving averages of weights, by the names of the weights that they average.
        ignored: How many tensors were left out because they are not weights, by what they are
            (``"optimizer slots"``).
        widened: Names of the tensors that the file keeps in a half precision that NumPy lacks (bfloat16).
        metadata: What the file states about itself.
        remarks: Sentences for the user, such as that normalizations are folded.
    """

    tensors: Mapping[str, NDArray[Any]]
    averages: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])
    widened: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    remarks: tuple[str, ...] = ()
