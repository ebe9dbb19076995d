"""Pools over windows and over whole maps."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, cast

from pydantic import model_validator

from resnet_spec.operations.base import (
    TRANSCENDENTAL,
    BaseOperation,
    Category,
    ParameterSlot,
    Stride,
    as_fields,
    as_stride,
)
from resnet_spec.operations.fields import UNPADDED, Edges, Epsilon, Flag, Padding, Pair, Real, Shape, need_map
from resnet_spec.operations.roles import Role
from resnet_spec.operations.windows import explicit_padding, fixed_padding, window_counts


class _Pool(BaseOperation):
    """A window that slides over each channel of a (channels, height, width) map.

    Attributes:
        kernel: Height and width of the window; one number means both.
        stride: Rows and columns that the window moves by; the kernel by default.
        padding: Rows and columns around the map, at most half the kernel: one number for all sides,
            [[top, bottom], [left, right]], or ``same`` as TensorFlow defines it.
        ceil_mode: Whether a last window that extends beyond the padding counts, as in PyTorch.
    """

    category = Category.POOLING

    kernel: Pair
    stride: Pair
    padding: Padding = UNPADDED
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
        shape = need_map(inputs[0])
        counts = window_counts(shape, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return (shape[0], *counts)

    def explicit_padding(self, shape: Shape) -> Edges:
        """Return the padding for a map of one size; ``same`` is computed.

        Args:
            shape: The input's (channels, height, width).

        Returns:
            The rows and columns as ((top, bottom), (left, right)), without those that ``ceil_mode`` adds.

        Examples:
            >>> from resnet_spec.operations import MaxPool2d
            >>> MaxPool2d(op="max_pool2d", kernel=3, stride=2, padding="same").explicit_padding((64, 112, 112))
            ((0, 1), (0, 1))
        """
        return explicit_padding(shape[1:], self.kernel, self.stride, self.padding)

    @property
    def fixed_padding(self) -> Edges | None:
        """The explicit padding that is correct at every input size if the number of windows is rounded down.

        It includes the rows that ``ceil_mode`` adds, which never count as values of a mean. None if ``same`` depends
        on the size.
        """
        return fixed_padding(self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)

    def spatial_stride(self) -> Stride | None:
        return as_stride(self.stride)


class _GlobalPool(BaseOperation):
    """One value per channel of a map, as a (channels, 1, 1) map."""

    category = Category.POOLING

    def output_shape(self, *inputs: Shape) -> Shape:
        return (need_map(inputs[0])[0], 1, 1)

    def spatial_stride(self) -> Stride | None:
        return None


class MaxPool2d(_Pool):
    """Maximum of each window; padding counts as minus infinity (add a ``pad2d`` before the pool to pad with zeros)."""

    label = "MaxPool2d"

    op: Literal["max_pool2d"]


class AvgPool2d(_Pool):
    """Mean of each window.

    Attributes:
        count_include_pad: Whether the zeros of the padding count as values of the mean; required unless the padding
            is 0. Rows that ``ceil_mode`` adds never count.
    """

    label = "AvgPool2d"

    op: Literal["avg_pool2d"]
    count_include_pad: Flag

    def roundings(self, *inputs: Shape) -> int:
        return prod(self.kernel)

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_count(cls, data: Any) -> Any:
        fields = as_fields(data)
        if fields.get("padding", 0) not in (0, UNPADDED, [[0, 0], [0, 0]]):
            return cast("object", data)
        return {"count_include_pad": False} | fields


class GlobalAvgPool(_GlobalPool):
    """Mean over height and width, as a (channels, 1, 1) map."""

    label = "AdaptiveAvgPool2d"

    op: Literal["global_avg_pool"]

    def roundings(self, *inputs: Shape) -> int:
        return prod(inputs[0][1:])


class GlobalMaxPool(_GlobalPool):
    """Maximum over height and width, as a (channels, 1, 1) map."""

    label = "AdaptiveMaxPool2d"

    op: Literal["global_max_pool"]


class GeMPool(_GlobalPool):
    """Generalized mean over height and width (Radenović et al. 2018): mean(max(x, epsilon)^p)^(1/p), with a learned p.

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
