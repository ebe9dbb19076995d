"""The base of operations whose name in a graph ends in the rank of their input: ``conv1d``, ``conv2d``, ``conv3d``.

One class serves all ranks. A spec may write ``conv_nd``, and the input decides; what is one number there is one for
each axis of positions here, so that backends read every field as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from resnet_spec.operations.base import BaseOperation, Stride, as_stride
from resnet_spec.operations.fields import Edges, Extents, Padding, Shape, need_rank, rank_of
from resnet_spec.operations.windows import explicit_padding


class Ranked(BaseOperation):
    """An operation over the positions of a (channels, length), (channels, height, width) or volume input."""

    # First, since the other fields depend on the rank in it.
    op: str

    @property
    def rank(self) -> int:
        """The number of axes of positions of the input."""
        return rank_of(self.op)

    def label_for(self, *inputs: Shape) -> str:
        return f"{self.label}{self.rank}d"

    def map_shape(self, *inputs: Shape) -> Shape:
        """Return the first input's shape.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            The shape, which has the operation's rank.

        Raises:
            ShapeError: The input has another rank.

        Examples:
            >>> from resnet_spec.operations import Conv
            >>> Conv(op="conv1d", channels=8, kernel=3).map_shape((4, 100))
            (4, 100)
        """
        return need_rank(inputs[0], self.rank)

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if info.exclude_defaults:
            # A default is one number, which was expanded for the rank.
            numbers = {name: field.default for name, field in type(self).model_fields.items()}
            fields = {name: value for name, value in fields.items() if _numbers(value) != {numbers[name]}}
        return {name: _shortened(value) for name, value in fields.items()} if self.rank == 1 else fields


def _numbers(value: Any) -> set[Any]:
    """Return the different numbers in a list of numbers or of pairs."""
    if isinstance(value, list | tuple):
        return {number for item in cast("list[Any]", value) for number in _numbers(item)}
    return {value}


def _shortened(value: Any) -> Any:
    """Return a list of one number, or of one pair of equal numbers, as the number."""
    items: list[Any] = [*value] if isinstance(value, list | tuple) else []
    return _numbers(items).pop() if len(items) == len(_numbers(items)) == 1 else cast("object", value)


class Windowed(Ranked):
    """An operation with a window that slides over the positions.

    Attributes:
        kernel: Extent of the window: one number, or a list of one for each axis of positions, such as [height, width].
        stride: Positions that the window moves by: one number, or a list of one for each axis.
        padding: Positions on the sides: one number, or a list of a number or a pair [before, after] for each axis, or
            ``same`` as TensorFlow defines it.
    """

    if TYPE_CHECKING:
        # Each operation declares them among its own fields, in the order in which a graph shows them.
        kernel: Extents
        stride: Extents
        padding: Padding

    def explicit_padding(self, shape: Shape) -> Edges:
        """Return the padding for a map of one size; ``same`` is computed.

        Args:
            shape: The input's shape, such as (channels, height, width).

        Returns:
            A pair (before, after) for each axis: ((top, bottom), (left, right)) of a map. Without the rows that
            ``ceil_mode`` adds.

        Examples:
            >>> from resnet_spec.operations import Conv
            >>> Conv(op="conv2d", channels=64, kernel=7, stride=2, padding="same").explicit_padding((3, 224, 224))
            ((2, 3), (2, 3))
        """
        dilation = getattr(self, "dilation", None)
        return explicit_padding(shape[1:], self.kernel, self.stride, self.padding, dilation)

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return as_stride(self.stride)
