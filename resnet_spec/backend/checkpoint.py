"""What every reader of a weights file returns: its tensors and what else it contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by the names that the file has for them, in the file's own layout; bfloat16 is widened to float32.

    Attributes:
        tensors: The weights.
        averages: Exponential moving averages of weights, by the names of the weights that they average.
        ignored: How many tensors are omitted because they are not weights, by their kind (``"optimizer slots"``).
        widened: Names of the tensors that the file stores as bfloat16, which NumPy lacks.
        unreadable: Tensors that NumPy cannot represent, by name, and what each is stored as.
        metadata: What the file states about itself.
        remarks: Sentences for the user, such as that normalizations are folded.
        doubt: Why the file's network cannot be shown to compute what the graph does, where the format has a network and
            the names fit; ``strict_graph`` refuses it.
    """

    tensors: Mapping[str, NDArray[Any]]
    averages: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])
    widened: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    remarks: tuple[str, ...] = ()
    doubt: str = ""


def widen_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of bfloat16, or of integers with its bits, as float32, which represents every value exactly.

    Examples:
        >>> import numpy as np
        >>> widen_bfloat16(np.array([0x3F80, 0xC000], "<u2"))
        array([ 1., -2.], dtype=float32)
    """
    bits = array.view("<u2").astype("<u4")
    # In place: the shift of an array without axes would return a scalar.
    bits <<= 16
    return bits.view("<f4")


def narrow_bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """Return the bits of an array rounded to bfloat16, to the nearest, ties to even.

    Examples:
        >>> import numpy as np
        >>> [hex(bits) for bits in narrow_bfloat16(np.array([1, -2.001, 1e39]))]
        ['0x3f80', '0xc000', '0x7f80']
    """
    import numpy as np

    with np.errstate(over="ignore"):
        bits = np.asarray(array, "<f4", order="C").view("<u4")
    # The carry of a mantissa goes to the exponent, as it should; that of NaN would go to the sign.
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")
