"""The rows and columns around a map that a window needs, in the plainest form that means them at every input size.

Most are numbers. ``same`` with a stride is ONNX's SAME_UPPER, which is defined as TensorFlow's; but ONNX Runtime has it
neither for a dilation nor for a window narrower than its stride, and there the pads are worked out in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from resnet_spec.operations import AvgPool2d, Conv2d, MaxPool2d, StdConv2d
from resnet_spec.operations.fields import Edges
from resnet_spec_onnx.emitting.node_builder import Place

Windowed: TypeAlias = Conv2d | StdConv2d | MaxPool2d | AvgPool2d


class _Axis(NamedTuple):
    kernel: int
    stride: int
    dilation: int

    @property
    def span(self) -> int:
        """Rows from a window's first to its last."""
        return self.dilation * (self.kernel - 1)


def pads(edges: Edges) -> list[int]:
    """((top, bottom), (left, right)) in ONNX's order: top, left, bottom, right."""
    return [before for before, _ in edges] + [after for _, after in edges]


def all_pads(edges: Edges) -> list[int]:
    """The same for (batch, channels, height, width)."""
    flat = pads(edges)
    return [0, 0, *flat[:2], 0, 0, *flat[2:]]


def attributes(op: Windowed) -> dict[str, Any]:
    """A window's attributes, but for its padding."""
    return {"kernel_shape": op.kernel, "strides": op.stride}


def dilations(op: Conv2d | StdConv2d) -> list[int]:
    """Dilation, 1 where the kernel has nothing to dilate: ONNX Runtime takes no other beside SAME_UPPER."""
    return [axis.dilation for axis in _axes(op)]


def padded(place: Place, op: Windowed, x: str, value: float) -> tuple[str, dict[str, Any]]:
    """What a window is slid over, and the attributes that say how it is padded, with ``value`` where by a node."""
    edges = edges_of(op)
    if edges is not None:
        return x, {"pads": pads(edges)}
    if is_upper(op):
        return x, {"auto_pad": "SAME_UPPER"}
    return pad(place, x, same_pads(place, op, x), value), {}


def pad(place: Place, x: str, edges: str, value: float = 0.0) -> str:
    """A pad by a vector of (batch, channels, height, width) before and after."""
    return place("Pad", x, edges, place.reals(value)) if value else place("Pad", x, edges)


def edges_of(op: Windowed) -> Edges | None:
    """The rows and columns that a window needs around a map, whatever its size; None where they follow the size."""
    if op.padding == "same":
        rows, columns = map(_same_edges, _axes(op))
        return None if rows is None or columns is None else (rows, columns)
    if not isinstance(op, MaxPool2d | AvgPool2d) or not op.ceil_mode:
        return op.padding
    rows, columns = (
        (before, after + more)
        for (before, after), (_, more) in zip(op.padding, ceil_edges(op, op.padding), strict=True)
    )
    return rows, columns


def ceil_edges(op: MaxPool2d | AvgPool2d, padding: Edges) -> Edges:
    """The rows and columns that ``ceil_mode`` needs besides the padding.

    Up to a stride less one, but never so many that a window would begin below the map, which PyTorch drops.
    """
    rows, columns = (
        (0, min(axis.stride - 1, axis.kernel - 1 - after)) for axis, (_, after) in zip(_axes(op), padding, strict=True)
    )
    return rows, columns


def is_upper(op: Windowed) -> bool:
    """Whether ONNX Runtime's SAME_UPPER is the operation's ``same``."""
    return all(axis.dilation == 1 and axis.kernel >= axis.stride for axis in _axes(op))


def same_pads(place: Place, op: Windowed, x: str) -> str:
    """The pads of ``same`` for a map of any size, see ``operations.windows.same_padding``."""
    axes = list(_axes(op))
    one, two = place.integers([1, 1]), place.integers([2, 2])
    stride = place.integers([axis.stride for axis in axes])
    window = place.integers([axis.span + 1 for axis in axes])
    size = place("Shape", x, start=2)
    # How often the window moves, and the rows that it needs for that beyond those there are.
    moves = place("Div", place("Sub", size, one), stride)
    needed = place("Sub", place("Add", place("Mul", moves, stride), window), size)
    total = place("Max", needed, place.integers([0, 0]))
    before = place("Div", total, two)
    none = place.integers([0, 0])
    return place("Concat", none, before, none, place("Sub", total, before), axis=0)


def _same_edges(axis: _Axis) -> tuple[int, int] | None:
    """The rows that equal ``same`` at every input size, or None where there are no such."""
    return (axis.span // 2, axis.span - axis.span // 2) if axis.stride == 1 or axis.span < 2 else None


def _axes(op: Windowed) -> Iterator[_Axis]:
    dilation = op.dilation if isinstance(op, Conv2d | StdConv2d) else (1, 1)
    for k, s, d in zip(op.kernel, op.stride, dilation, strict=True):
        yield _Axis(k, s, d if k > 1 else 1)
