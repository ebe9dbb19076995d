"""What every operation answers: output shape, parameters with their roles, multiply-accumulates, roundings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fractions import Fraction
from inspect import getdoc
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from resnet_spec.operations.fields import Shape
from resnet_spec.operations.roles import Role

NORMALIZING = 8
"""Roundings of one normalized value, without those of the sums for its mean and variance."""

TRANSCENDENTAL = 4
"""Roundings of one value that passes through an exponential."""


class ParameterSlot(NamedTuple):
    """An array that an operation owns: its name within the layer, its shape in PyTorch's layout, and its role.

    The name is empty if the array has the layer's own name. ``initial`` is the value that the operation states for each
    element before training, None if it follows from the role.
    """

    name: str
    shape: Shape
    role: Role
    initial: float | None = None


class Category(StrEnum):
    """Groups of operations in a summary, which shows no rows for joins, reshapings and output functions."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    POOLING = "pooling"
    REGULARIZATION = "regularization"
    LEARNED = "learned"
    JOIN = "join"
    RESHAPING = "reshaping"
    OUTPUT = "output"


Stride: TypeAlias = tuple[Fraction, ...]
"""Rows and columns of the input per row and column of the output; below 1 for an operation that enlarges a map.

A signal has one such number, a volume three.
"""


def same_stride(rank: int) -> Stride:
    """Return the stride of an operation whose output has the resolution of its input.

    Args:
        rank: The number of axes of positions.

    Returns:
        A 1 for each axis.

    Examples:
        >>> from resnet_spec.operations import same_stride
        >>> same_stride(2)
        (Fraction(1, 1), Fraction(1, 1))
    """
    return (Fraction(1),) * rank


class BaseOperation(BaseModel):
    """The interface of every operation; its fields are the arguments that a spec states.

    Shapes omit the batch: (channels, height, width), (channels, length) or (features,).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: ClassVar[Category]
    label: ClassVar[str]
    """The name of PyTorch's module, shown in summaries."""
    nonnegative: ClassVar[bool] = False
    """Whether no value of the output is below zero, whatever the inputs are."""
    training_fields: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields on which inference does not depend, with a value that stands for all."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Arguments that a spec may state in place of a field and that a graph never contains."""

    @property
    def arity(self) -> tuple[int, int | None]:
        """The smallest and the largest number of inputs; None if there is no largest."""
        return 1, 1

    @property
    def joins(self) -> bool:
        """Whether the operation takes several inputs instead of exactly one."""
        return self.arity != (1, 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the output.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            The shape of the output, without the batch.

        Raises:
            ShapeError: The operation does not accept inputs of these shapes.

        Examples:
            >>> from resnet_spec.operations import Conv
            >>> conv = Conv(op="conv2d", channels=64, kernel=7, stride=2, padding=3)
            >>> conv.output_shape((3, 224, 224))
            (64, 112, 112)
        """
        return inputs[0]

    def label_for(self, *inputs: Shape) -> str:
        """Return the name of PyTorch's module for inputs of these shapes.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            ``label``, unless PyTorch has several modules for the operation.

        Examples:
            >>> from resnet_spec.operations import BatchNorm
            >>> norm = BatchNorm(op="batch_norm", epsilon=1e-5, momentum=0.1, running_variance="unbiased")
            >>> norm.label_for((64, 56, 56)), norm.label_for((128,))
            ('BatchNorm2d', 'BatchNorm1d')
        """
        return self.label

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        """Return the arrays that a layer of this operation owns.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            A slot per array, in the order of a state_dict, with shapes in PyTorch's layout.

        Examples:
            >>> from resnet_spec.operations import Linear
            >>> [(slot.name, slot.shape) for slot in Linear(op="linear", features=10).parameters((512,))]
            [('weight', (10, 512)), ('bias', (10,))]
        """
        return ()

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the multiply-accumulates for one image.

        Args:
            inputs: The shapes of the inputs.
            output: The shape of the output.

        Returns:
            The count, 0 unless the operation is a convolution, a linear layer or a matrix product.

        Examples:
            >>> from resnet_spec.operations import Linear
            >>> Linear(op="linear", features=10).macs(((512,),), (10,))
            5120
        """
        return 0

    def roundings(self, *inputs: Shape) -> int:
        """Return how many roundings in a row one value may undergo; float32 bounds are derived from it.

        Args:
            *inputs: The shapes of the inputs.

        Returns:
            The number of terms of a sum, or 0 for an operation that only selects or moves values.

        Examples:
            >>> from resnet_spec.operations import Linear, ReLU
            >>> Linear(op="linear", features=10).roundings((512,)), ReLU(op="relu").roundings((64, 56, 56))
            (513, 0)
        """
        return 0

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        """Return the stride of the output relative to the input.

        Args:
            rank: The number of axes of positions of the input.

        Returns:
            Rows and columns of the input per row and column of the output, or None if the output is not a map of the
            input's positions.

        Examples:
            >>> from resnet_spec.operations import ConvTranspose
            >>> ConvTranspose(op="conv_transpose2d", channels=8, kernel=2, stride=2).spatial_stride()
            (Fraction(1, 2), Fraction(1, 2))
        """
        return same_stride(rank)


_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


def describe(kind: type) -> tuple[str, dict[str, str]]:
    """Return the description of an operation or of another model, and that of each key, from the docstrings.

    A class inherits the descriptions of its bases.
    """
    keys: dict[str, str] = {}
    for base in kind.__mro__:
        section = (getdoc(base) or "").partition("Attributes:\n")[2] if _is_ours(base) else ""
        keys = {name: " ".join(text.split()) for name, text in _ENTRY.findall(section)} | keys
    description = re.split(r"\n\n(?:Attributes|Examples):\n", getdoc(kind) or "", maxsplit=1)[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in description.split("\n\n")), keys


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("resnet_spec") and bool(kind.__doc__)


def summary(kind: type) -> str:
    """Return the first paragraph of a description, in one line."""
    return describe(kind)[0].partition("\n\n")[0]


def as_fields(data: Any) -> dict[str, Any]:
    """Return a model's input as a mapping of fields, empty if it is not a mapping."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def as_stride(stride: Iterable[int]) -> Stride:
    """Return whole numbers as a stride."""
    return tuple(map(Fraction, stride))


def with_bias(kernel: ParameterSlot, size: int, role: Role, bias: bool) -> tuple[ParameterSlot, ...]:
    """Return a layer's parameters: its kernel and, if it has one, a bias of ``size`` values."""
    return (kernel, ParameterSlot("bias", (size,), role)) if bias else (kernel,)
