"""Operators of ONNX's reference implementation that it has slowly, or not in float64.

Its max pool reads the pads of four sides in a different order, in a Python loop over values; its global one takes the
maximum over two axes; its error function rounds to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx.reference.op_run import OpRun

from resnet_spec.operations.windows import explicit_padding

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MaxPool(OpRun):
    """ONNX's MaxPool of (batch, channels, ...), for the attributes that this backend writes."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        auto_pad: str,
        kernel_shape: Sequence[int],
        pads: Sequence[int] | None,
        strides: Sequence[int],
        **others: Any,
    ) -> tuple[NDArray[Any]]:
        rank = len(kernel_shape)
        given = pads or [0] * 2 * rank
        padding = "same" if auto_pad == "SAME_UPPER" else tuple(zip(given[:rank], given[rank:], strict=True))
        edges = explicit_padding(x.shape[2:], kernel_shape, strides, padding)
        padded = np.pad(x, [(0, 0), (0, 0), *edges], constant_values=-np.inf)
        view = sliding_window_view(padded, tuple(kernel_shape), axis=tuple(range(2, 2 + rank)))  # pyright: ignore
        strided = view[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]
        return (strided.max(tuple(range(-rank, 0))),)


class GlobalMaxPool(OpRun):
    """ONNX's GlobalMaxPool of (batch, channels, ...)."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (x.max(tuple(range(2, x.ndim)), keepdims=True),)


class Erf(OpRun):
    """ONNX's Erf, in the dtype of its input."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (np.vectorize(erf, otypes=[x.dtype])(x),)
