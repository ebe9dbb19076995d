"""Learned values by themselves: a factor, a term, or a value that does not depend on the input.

Each is one array whose name is the layer's own, as that of a ``torch.nn.Parameter`` that a module has beside its
layers: the slot's name is empty.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from resnet_spec.operations.base import BaseOperation, Category, ParameterSlot, Stride
from resnet_spec.operations.fields import Count, Real, Shape
from resnet_spec.operations.roles import Role

Extent = Literal["scalar", "channels", "map"]


class _Elementwise(BaseOperation):
    """A learned factor or term.

    Attributes:
        shape: Whether it is one number (``scalar``), one number per channel (``channels``), or one number per element
            of the input (``map``), with which the input size is part of the architecture.
    """

    category = Category.LEARNED
    role: ClassVar[Role]

    shape: Extent
    initial: Real

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = {"scalar": (), "channels": inputs[0][:1], "map": inputs[0]}[self.shape]
        return (ParameterSlot("", shape, self.role, self.initial),)

    def roundings(self, *inputs: Shape) -> int:
        return 1


class Scale(_Elementwise):
    """The input times a learned number, one per channel or one per element: LayerScale, ReZero, SkipInit.

    Attributes:
        initial: The value before training.
    """

    label = "Scale"
    role = Role.LEARNED_SCALE

    op: Literal["scale"]
    initial: Real = 1.0


class Offset(_Elementwise):
    """The input plus a learned number, one per channel or one per element, such as a positional embedding.

    Attributes:
        initial: The value before training.
    """

    label = "Offset"
    role = Role.LEARNED_OFFSET

    op: Literal["offset"]
    initial: Real = 0.0


class LearnedValue(BaseOperation):
    """A learned value, the same for each image, such as a class token; of its input only the batch counts.

    Attributes:
        shape: One to four sizes, without the batch.
        initial: The value before training.
    """

    category = Category.LEARNED
    label = "Parameter"

    op: Literal["parameter"]
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]
    initial: Real = 0.0

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.shape

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return (ParameterSlot("", self.shape, Role.LEARNED_VALUE, self.initial),)

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None
