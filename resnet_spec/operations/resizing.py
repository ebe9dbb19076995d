"""Resizing of maps by interpolation between positions."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from resnet_spec.operations.base import BaseOperation, Category, Stride, same_stride
from resnet_spec.operations.fields import Extents, Flag, Shape, need_rank

LARGEST_SCALE = 32
"""Beyond it, some library's nearest position is off by one, since its float32 reciprocal is."""


def _small(pair: tuple[int, ...]) -> tuple[int, ...]:
    if max(pair) > LARGEST_SCALE:
        raise ValueError(f"must be at most {LARGEST_SCALE}; use several steps, or size")
    return pair


class Resize(BaseOperation):
    """A map of another height and width, each position interpolated between positions of the input.

    Position i of ``out`` corresponds to (i + ½) · in/out - ½ with coordinates ``half_pixel``, to i · (in - 1)/(out - 1)
    with ``align_corners``, and to i · in/out with ``asymmetric``; positions outside the map are moved to its edge.
    Exactly one of ``scale``, ``size`` and ``like`` states the height and width.

    Attributes:
        mode: ``nearest``, or ``bilinear`` without antialiasing.
        coordinates: ``half_pixel`` or ``align_corners`` with bilinear, ``half_pixel`` or ``asymmetric`` with nearest.
        rounding: Of positions, with nearest only: ``floor`` with ``asymmetric`` (PyTorch's ``nearest``), ``half_up``
            with ``half_pixel`` (PyTorch's ``nearest-exact``, TensorFlow).
        scale: Factor of height and width; one number means both.
        size: Height and width of the output; one number means both.
        like: Whether a second input gives height and width.
    """

    category = Category.RESHAPING
    label = "Upsample"

    op: Literal["resize"]
    mode: Literal["nearest", "bilinear"]
    coordinates: Literal["half_pixel", "align_corners", "asymmetric"]
    rounding: Literal["floor", "half_up"] | None = None
    scale: Annotated[Extents, AfterValidator(_small)] | None = None
    size: Extents | None = None
    like: Flag = False

    @model_validator(mode="after")
    def _one_meaning(self) -> Resize:
        if (self.scale is not None) + (self.size is not None) + self.like != 1:
            raise ValueError("needs exactly one of scale, size and like")
        if self.mode == "bilinear":
            if self.coordinates == "asymmetric":
                raise ValueError("bilinear has no coordinates 'asymmetric' in PyTorch; use half_pixel or align_corners")
            if self.rounding is not None:
                raise ValueError("rounding has no effect with mode 'bilinear'; remove it")
        elif (self.coordinates, self.rounding) not in (("asymmetric", "floor"), ("half_pixel", "half_up")):
            raise ValueError(
                "nearest needs coordinates 'asymmetric' with rounding 'floor' (PyTorch's nearest), or 'half_pixel' with"
                " 'half_up' (PyTorch's nearest-exact, TensorFlow)"
            )
        return self

    @property
    def arity(self) -> tuple[int, int | None]:
        return (2, 2) if self.like else (1, 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, height, width = need_rank(inputs[0], 2)
        if self.scale is not None:
            return channels, height * self.scale[0], width * self.scale[1]
        if self.size is not None:
            return channels, *self.size
        return channels, *need_rank(inputs[1], 2)[1:]

    def positions(self, before: int, after: int) -> list[Fraction]:
        """Return the position in the input that each row or column of the output is taken from.

        Args:
            before: Rows or columns of the input.
            after: Rows or columns of the output.

        Returns:
            Exact positions; with nearest they are whole.

        Examples:
            >>> from resnet_spec.operations import Resize
            >>> resize = Resize(op="resize", mode="bilinear", coordinates="half_pixel", size=4)
            >>> [float(position) for position in resize.positions(2, 4)]
            [0.0, 0.25, 0.75, 1.0]
        """
        half = Fraction(1, 2)
        match self.coordinates:
            case "half_pixel":
                found = [(i + half) * Fraction(before, after) - half for i in range(after)]
            case "align_corners":
                found = [i * Fraction(before - 1, max(after - 1, 1)) for i in range(after)]
            case "asymmetric":
                found = [i * Fraction(before, after) for i in range(after)]
        if self.rounding is not None:
            found = [Fraction((x + half if self.rounding == "half_up" else x).__floor__()) for x in found]
        return [min(max(x, Fraction(0)), Fraction(before - 1)) for x in found]

    def roundings(self, *inputs: Shape) -> int:
        if self.mode == "nearest":
            return 0
        # Per axis two weights, two products and their sum. A position between 0 and n is rounded by up to n · u, as by
        # n² roundings in a row, unless the ratio is a power of two.
        count = 0
        for before, after in zip(inputs[0][1:], self.output_shape(*inputs)[1:], strict=True):
            aligned = self.coordinates == "align_corners"
            ratio = Fraction(before - aligned, max(after - aligned, 1))
            exact = ratio.denominator & (ratio.denominator - 1) == 0
            count += 4 + (0 if exact or before == after else before**2)
        return count

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        if self.scale is not None:
            return tuple(Fraction(1, number) for number in self.scale)
        return same_stride(rank) if self.like else None
