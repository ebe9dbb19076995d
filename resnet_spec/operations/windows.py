"""The arithmetic of windows that slide over a map: ``same``, ceiling mode, crops, and how many windows fit.

This is the only place for it; operations and backends call these functions. A function of one axis counts in rows and
takes plain integers; a function of all axes takes one number, or one pair, for each. Those that take ``maximum`` or
``minimum`` work on symbolic sizes too, as a model has them that is exported or compiled: pass the framework's own
function (``tf.maximum``, ``torch.sym_min``).

``k`` is the kernel, ``s`` the stride, ``d`` the dilation; a window covers ``d * (k - 1) + 1`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from resnet_spec.operations.fields import Edges, Shape, ShapeError, as_text

# ---------------------------------------------------------------------------------------------------------------
# One axis


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Return how many rows a dilated window covers, from its first to its last: ``d * (k - 1) + 1``."""
    return dilation * (kernel - 1) + 1


def window_count(
    size: int,
    kernel: int,
    stride: int,
    edges: tuple[int, int] = (0, 0),
    dilation: int = 1,
    *,
    ceil_mode: bool = False,
    minimum: Callable[[int, int], int] = min,
) -> int:
    """Return how many windows fit ``size`` rows with ``edges`` rows of padding before and after.

    With ``ceil_mode`` a last window that overhangs the padding counts, unless it begins below the map and the padding
    before it, as in PyTorch. Less than 1 where no window fits (without ``ceil_mode``).

    >>> window_count(6, 3, 2), window_count(6, 3, 2, ceil_mode=True)
    (2, 3)
    """
    before, after = edges
    room = size + before + after - effective_kernel(kernel, dilation)
    if not ceil_mode:
        return room // stride + 1
    return minimum(-(-room // stride) + 1, -(-(size + before) // stride))


def overhang(size: int, count: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Return how many rows ``count`` windows need beyond ``size``, the first at row 0; negative where rows are left."""
    return (count - 1) * stride + effective_kernel(kernel, dilation) - size


def same_padding(
    size: int, kernel: int, stride: int, dilation: int = 1, *, maximum: Callable[[int, int], int] = max
) -> tuple[int, int]:
    """Return the rows that ``same`` adds before and after ``size`` rows, as TensorFlow defines it.

    The output has ``ceil(size / s)`` rows. The total is ``max((ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)``;
    of an odd total the larger half goes after.

    >>> same_padding(224, 7, 2), same_padding(225, 7, 2)
    ((2, 3), (3, 3))
    """
    total = overhang(size, (size - 1) // stride + 1, kernel, stride, dilation)
    # Only a window narrower than its stride can need fewer than no rows; a symbolic size gets no needless maximum.
    if effective_kernel(kernel, dilation) < stride:
        total = maximum(total, 0)
    return halves(total)


def fixed_same_padding(kernel: int, stride: int, dilation: int = 1) -> tuple[int, int] | None:
    """Return the rows that act as ``same`` at every size, or None if ``same`` depends on the size.

    >>> fixed_same_padding(3, 1), fixed_same_padding(3, 2)
    ((1, 1), None)
    """
    total = effective_kernel(kernel, dilation) - 1
    return halves(total) if stride == 1 or total < 2 else None


def symmetric_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the same number of rows before and after, as PyTorch's layers take it: ``d * (k - 1) // 2``."""
    half = (effective_kernel(kernel, dilation) - 1) // 2
    return half, half


def full_padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Return the rows with which every window that touches the map fits: ``d * (k - 1)`` before and after."""
    rows = effective_kernel(kernel, dilation) - 1
    return rows, rows


def halves(total: int) -> tuple[int, int]:
    """Return ``total`` rows in two parts, the odd row in the second."""
    return total // 2, total - total // 2


def fixed_ceil_padding(kernel: int, stride: int, edges: tuple[int, int]) -> tuple[int, int]:
    """Return the padding with which a pool that rounds down computes, at every size, what ``ceil_mode`` does.

    Up to ``s - 1`` rows more after the map, but never so many that a window begins below it, which PyTorch drops. In
    an average these rows do not count as values.

    >>> fixed_ceil_padding(3, 2, (0, 0))
    (0, 1)
    """
    before, after = edges
    return before, min(after + stride - 1, kernel - 1)


def reached_padding(
    size: int, kernel: int, stride: int, edges: tuple[int, int], *, minimum: Callable[[int, int], int] = min
) -> tuple[int, int]:
    """Return the part of a pool's padding ``edges`` that its windows reach under ``ceil_mode``.

    Rows beyond it would be taken for part of the map by a pool that counts windows itself.
    """
    before, after = edges
    count = window_count(size, kernel, stride, edges, ceil_mode=True, minimum=minimum)
    return before, minimum(after, overhang(size + before, count, kernel, stride))


def transposed_size(size: int, kernel: int, stride: int, crop: tuple[int, int]) -> int:
    """Return the rows of a transposed convolution's output after its crop: ``(size - 1) * s + k - sum(crop)``."""
    return (size - 1) * stride + kernel - sum(crop)


def transposed_same_crop(kernel: int, stride: int) -> tuple[int, int]:
    """Return the rows that ``same`` crops from a transposed convolution's output, which leaves ``size * s`` rows.

    Where the kernel is smaller than the stride the second number is negative: so many rows of zeros follow.

    >>> transposed_same_crop(3, 2), transposed_same_crop(1, 2)
    ((0, 1), (0, -1))
    """
    before = max(kernel - stride, 0) // 2
    return before, kernel - stride - before


def overlapping_windows(kernel: int, stride: int) -> int:
    """Return how many windows cover one row at most: ``ceil(k / s)``."""
    return -(-kernel // stride)


# ---------------------------------------------------------------------------------------------------------------
# All axes of positions: the rows and columns of a map, the length of a signal, the three axes of a volume


def is_unpadded(padding: Literal["same"] | Edges) -> bool:
    """Return whether a padding is given in numbers that are all 0."""
    return padding != "same" and not any(map(any, padding))


def window_counts(
    shape: Shape,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Literal["same"] | Edges,
    dilation: Sequence[int] | None = None,
    *,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """Return how many windows fit along each axis of positions of a (channels, ...) map.

    Raises:
        ShapeError: No window fits.
    """
    edges = explicit_padding(shape[1:], kernel, stride, padding, dilation)
    axes = [*zip(shape[1:], kernel, stride, edges, dilation or _ones(kernel), strict=True)]
    if min(window_count(*axis) for axis in axes) < 1:
        window = f"a window of {kernel[0]}" if len(kernel) == 1 else f"a {as_text(tuple(kernel))} window"
        raise ShapeError(f"the feature map vanishes: {window} does not fit an input of {as_text(shape)}")
    return tuple(window_count(*axis, ceil_mode=ceil_mode) for axis in axes)


def _ones(kernel: Sequence[int]) -> tuple[int, ...]:
    return (1,) * len(kernel)


def explicit_padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Literal["same"] | Edges = "same",
    dilation: Sequence[int] | None = None,
    *,
    maximum: Callable[[int, int], int] = max,
) -> Edges:
    """Return a padding as pairs (before, after), one for each axis; ``same`` is computed from the map's sizes."""
    if padding != "same":
        return padding
    axes = zip(sizes, kernel, stride, dilation or _ones(kernel), strict=True)
    return tuple(same_padding(*axis, maximum=maximum) for axis in axes)


def fixed_padding(
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Literal["same"] | Edges,
    dilation: Sequence[int] | None = None,
    *,
    ceil_mode: bool = False,
) -> Edges | None:
    """Return the padding that, with windows counted by rounding down, gives the same output at every input size.

    None where ``same`` depends on the size. ``ceil_mode`` is for pools, which have no dilation.
    """
    if padding == "same":
        found = [*map(fixed_same_padding, kernel, stride, dilation or _ones(kernel))]
        known = tuple(edges for edges in found if edges is not None)
        return known if len(known) == len(found) else None
    return tuple(map(fixed_ceil_padding, kernel, stride, padding)) if ceil_mode else padding


def explicit_crop(kernel: Sequence[int], stride: Sequence[int], padding: Literal["same"] | Edges) -> Edges:
    """Return a transposed convolution's crop as pairs (before, after); see ``transposed_same_crop``."""
    return padding if padding != "same" else tuple(map(transposed_same_crop, kernel, stride))
