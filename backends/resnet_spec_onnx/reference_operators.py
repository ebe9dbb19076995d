"""Operators of ONNX's reference implementation that it has slowly, or not in float64.

Its max pool reads the pads of four sides in a different order, in a Python loop over values; its error function rounds
to float32.
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
    """ONNX's MaxPool of (batch, channels, height, width), for the attributes that this backend writes."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        auto_pad: str,
        kernel_shape: tuple[int, int],
        pads: Sequence[int] | None,
        strides: tuple[int, int],
        **others: Any,
    ) -> tuple[NDArray[Any]]:
        top, left, bottom, right = pads or (0, 0, 0, 0)
        padding = "same" if auto_pad == "SAME_UPPER" else ((top, bottom), (left, right))
        edges = explicit_padding(x.shape[2:], kernel_shape, strides, padding)
        padded = np.pad(x, [(0, 0), (0, 0), *edges], constant_values=-np.inf)
        view = sliding_window_view(padded, tuple(kernel_shape), axis=(2, 3))  # pyright: ignore
        return (view[:, :, :: strides[0], :: strides[1]].max((4, 5)),)


class Erf(OpRun):
    """ONNX's Erf, in the dtype of its input."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (np.vectorize(erf, otypes=[x.dtype])(x),)
