"""Pools over windows and over whole maps."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Literal, cast

from pydantic import Field, model_validator

from resnet_spec.operations.base import TRANSCENDENTAL, BaseOperation, Category, ParameterSlot, Stride, as_fields
from resnet_spec.operations.fields import Edges, Epsilon, Extents, Flag, Padding, Real, Shape, need_positions
from resnet_spec.operations.ranked import Windowed
from resnet_spec.operations.roles import Role
from resnet_spec.operations.windows import fixed_padding, window_counts


class _Pool(Windowed):
    """A window that slides over each channel of a map.

    Attributes:
        stride: Positions that the window moves by: one number, or a list of one for each axis; the kernel by default.
        padding: Positions on the sides, at most half the kernel: one number, or a list of a number or a pair
            [before, after] for each axis, or ``same`` as TensorFlow defines it.
        ceil_mode: Whether a last window that extends beyond the padding counts, as in PyTorch.
    """

    category = Category.POOLING

    kernel: Extents
    stride: Extents
    padding: Padding = Field(default=0, validate_default=True)
    ceil_mode: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _stride_from_kernel(cls, data: Any) -> Any:
        fields = as_fields(data)
        if not fields or "stride" in fields:
            return cast("object", data)
        # Without a kernel, only the kernel is reported as missing.
        return fields | {"stride": fields.get("kernel", 1)}

    @model_validator(mode="after")
    def _some_input_in_every_window(self) -> _Pool:
        if self.padding == "same":
            if self.ceil_mode:
                raise ValueError("ceil_mode has no effect with padding 'same', which rounds up; remove it")
            return self
        for kernel, edges in zip(self.kernel, self.padding, strict=True):
            if 2 * max(edges) > kernel:
                raise ValueError(f"padding {max(edges)} is more than half the kernel, {kernel}")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = self.map_shape(*inputs)
        counts = window_counts(shape, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return (shape[0], *counts)

    @property
    def fixed_padding(self) -> Edges | None:
        """The explicit padding that is correct at every input size if the number of windows is rounded down.

        It includes the rows that ``ceil_mode`` adds, which never count as values of a mean. None if ``same`` depends
        on the size.
        """
        return fixed_padding(self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)


class _GlobalPool(BaseOperation):
    """One value per channel of a map, as a map of one position: (channels, 1, 1) of rows and columns."""

    category = Category.POOLING

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *sizes = need_positions(inputs[0])
        return (channels, *(1 for _ in sizes))

    def label_for(self, *inputs: Shape) -> str:
        return self.label.replace("2d", f"{len(inputs[0]) - 1}d")

    def spatial_stride(self, rank: int = 2) -> Stride | None:
        return None


class MaxPool(_Pool):
    """Maximum of each window; padding counts as minus infinity (add a ``pad_nd`` before the pool to pad with zeros)."""

    label = "MaxPool"

    op: Literal["max_pool1d", "max_pool2d", "max_pool3d"]  # pyright: ignore[reportIncompatibleVariableOverride]


class AvgPool(_Pool):
    """Mean of each window.

    Attributes:
        count_include_pad: Whether the zeros of the padding count as values of the mean; required unless the padding
            is 0. Rows that ``ceil_mode`` adds never count.
    """

    label = "AvgPool"

    op: Literal["avg_pool1d", "avg_pool2d", "avg_pool3d"]  # pyright: ignore[reportIncompatibleVariableOverride]
    count_include_pad: Flag

    def roundings(self, *inputs: Shape) -> int:
        return prod(self.kernel)

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_count(cls, data: Any) -> Any:
        fields = as_fields(data)
        # Compared one by one, since a padding that is none may be anything.
        unpadded = all(number == 0 for number in _flattened(fields.get("padding", 0)))
        return {"count_include_pad": False} | fields if unpadded else cast("object", data)


def _flattened(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _flattened(item)
    else:
        yield value


class GlobalAvgPool(_GlobalPool):
    """Mean over all positions, as a map of one position."""

    label = "AdaptiveAvgPool2d"

    op: Literal["global_avg_pool"]

    def roundings(self, *inputs: Shape) -> int:
        return prod(inputs[0][1:])


class GlobalMaxPool(_GlobalPool):
    """Maximum over all positions, as a map of one position."""

    label = "AdaptiveMaxPool2d"

    op: Literal["global_max_pool"]


class GeMPool(_GlobalPool):
    """Generalized mean over all positions (Radenović et al. 2018): mean(max(x, epsilon)^p)^(1/p), with a learned p.

    Attributes:
        epsilon: The smallest value that counts.
        initial: The power p before training; 1 is the mean, and a large one near the maximum.
    """

    label = "GeMPool"
    nonnegative = True

    op: Literal["gem_pool"]
    epsilon: Epsilon
    initial: Real = 3.0

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return (ParameterSlot("p", (1,), Role.POOL_POWER, self.initial),)

    def roundings(self, *inputs: Shape) -> int:
        # A power is a logarithm and an exponential.
        return prod(inputs[0][1:]) + 4 * TRANSCENDENTAL
