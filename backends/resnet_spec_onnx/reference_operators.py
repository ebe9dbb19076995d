"""A max pool for ONNX's reference implementation, whose own takes the pads of four sides in another order.

It is also fast, where the other goes from value to value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx.reference.op_run import OpRun

from resnet_spec.operations.windows import same_padding

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MaxPool(OpRun):
    """ONNX's operation of this name for (batch, channels, height, width), in what this backend writes of it."""

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
        if auto_pad == "SAME_UPPER":
            edges = [same_padding(*axis, 1) for axis in zip(x.shape[2:], kernel_shape, strides, strict=True)]
        else:
            top, left, bottom, right = pads or (0, 0, 0, 0)
            edges = [(top, bottom), (left, right)]
        padded = np.pad(x, [(0, 0), (0, 0), *edges], constant_values=-np.inf)
        view = sliding_window_view(padded, tuple(kernel_shape), axis=(2, 3))  # pyright: ignore
        return (view[:, :, :: strides[0], :: strides[1]].max((4, 5)),)
