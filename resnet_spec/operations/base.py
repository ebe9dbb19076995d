"""What every operation answers: its output shape, its parameters with their roles, and its multiply-accumulates."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from resnet_spec.operations.fields import Shape
from resnet_spec.operations.roles import Role

NORMALIZING, TRANSCENDENTAL = 8, 4
"""Roundings of a value that is normalized, beside those of the sums behind mean and variance where they are of the
input itself, and of one that goes through an exponential."""


class ParameterSlot(NamedTuple):
    """One array that an operation owns: its name within the layer, its shape as PyTorch lays it out, its role."""

    name: str
    shape: Shape
    role: Role


class Category(StrEnum):
    """Groups of operations, as a summary shows them: joins, reshapings and output functions have no row."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    POOLING = "pooling"
    REGULARIZATION = "regularization"
    JOIN = "join"
    RESHAPING = "reshaping"
    OUTPUT = "output"


Stride: TypeAlias = tuple[Fraction, Fraction]
"""Rows and columns of the input to one of the output; below 1 where a map grows."""


SAME_RESOLUTION: Stride = (Fraction(1), Fraction(1))


def mapping(data: Any) -> dict[str, Any]:
    """A model's input as a mapping of fields; empty where it is something else."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


class BaseOperation(BaseModel):
    """What every operation answers; fields are the attributes written in a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: ClassVar[Category]
    label: ClassVar[str]
    joins: ClassVar[bool] = False
    """Whether it takes two inputs or more; the others take exactly one."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """What a spec may write besides the fields, and a graph never holds."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """The output's shape; raises ShapeError where the inputs do not suit."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        """The arrays a layer of this operation owns, in a state_dict's order."""
        return ()

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Multiply-accumulates of one image; convolutions and linear layers count, nothing else does."""
        return 0

    def roundings(self, *inputs: Shape) -> int:
        """How many roundings in a row a value may meet on its way through: the terms of a sum, or 0 for a choice."""
        return 0

    def resolution(self) -> Stride | None:
        """How much coarser the output is than the input; None where it is no map in the input's sense any more."""
        return SAME_RESOLUTION


def coarser(stride: tuple[int, int]) -> Stride:
    """The resolution of an operation that moves by ``stride`` rows and columns."""
    return Fraction(stride[0]), Fraction(stride[1])
