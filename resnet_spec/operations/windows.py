"""The arithmetic of windows that slide over a map: ``same`` padding, ceiling mode, how many fit."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.fields import Edges, Shape, ShapeError, as_text


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Rows that ``same`` adds before and after ``size`` rows, as TensorFlow defines it: the odd one goes after.

    >>> same_padding(224, 7, 2, 1)
    (2, 3)
    """
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def symmetric_same(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Edges | None:
    """The explicit padding that equals ``same`` at every input size, or None where there is no such padding."""
    edges: list[tuple[int, int]] = []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        span = d * (k - 1)
        if span and (s > 1 or span % 2):
            return None
        edges.append((span // 2, span // 2))
    return edges[0], edges[1]


def window_counts(
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Literal["same"] | Edges,
    dilation: tuple[int, int] = (1, 1),
    *,
    ceil_mode: bool = False,
) -> tuple[int, int]:
    """How many windows fit the rows and the columns of a (channels, height, width) map.

    ``ceil_mode`` counts a last window that sticks out at the bottom or right, unless it begins in the padding, as
    PyTorch does. Raises ShapeError where none fits.
    """
    counts: list[int] = []
    for axis, (size, k, s, d) in enumerate(zip(shape[1:], kernel, stride, dilation, strict=True)):
        before, after = same_padding(size, k, s, d) if padding == "same" else padding[axis]
        room = size + before + after - d * (k - 1) - 1
        count = room // s + 1
        if ceil_mode and room % s and room >= 0 and count * s < size + before:
            count += 1
        counts.append(count)
    if min(counts) < 1:
        raise ShapeError(
            f"the feature map vanishes: a {kernel[0]}×{kernel[1]} window does not fit an input of {as_text(shape)}"
        )
    return counts[0], counts[1]
