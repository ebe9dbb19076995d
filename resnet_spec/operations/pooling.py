"""Pools over windows and over whole feature maps."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, cast

from pydantic import model_validator

from resnet_spec.operations.base import BaseOperation, Category, Stride, coarser, mapping
from resnet_spec.operations.fields import UNPADDED, Edges, Flag, Padding, Pair, Shape, need_map
from resnet_spec.operations.windows import explicit_padding, fixed_padding, window_counts


class _Pool(BaseOperation):
    """A window that slides over each channel of a map; its stride is the window unless stated."""

    category = Category.POOLING

    kernel: Pair
    stride: Pair
    padding: Padding = UNPADDED
    ceil_mode: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _stride_from_kernel(cls, data: Any) -> Any:
        fields = mapping(data)
        if not fields or "stride" in fields:
            return cast("object", data)
        # Without a kernel, that alone is told to be missing.
        return fields | {"stride": fields.get("kernel", 1)}

    @model_validator(mode="after")
    def _some_input_in_every_window(self) -> _Pool:
        if self.padding == "same":
            if self.ceil_mode:
                raise ValueError("'same' already rounds up: it takes no ceil_mode")
            return self
        for kernel, edges in zip(self.kernel, self.padding, strict=True):
            if 2 * max(edges) > kernel:
                raise ValueError(f"a pool's padding may be at most half its kernel, {kernel}, not {max(edges)}")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        counts = window_counts(shape, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return (shape[0], *counts)

    def explicit_padding(self, shape: Shape) -> Edges:
        """Return the padding around a map of this shape as ((top, bottom), (left, right)), without ``ceil_mode``'s."""
        return explicit_padding(shape[1:], self.kernel, self.stride, self.padding)

    @property
    def fixed_padding(self) -> Edges | None:
        """The padding that gives the same output at every input size with windows counted by rounding down.

        Of it only ``padding`` may count as values of an average. None where ``same`` depends on the size.
        """
        return fixed_padding(self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)

    def resolution(self) -> Stride | None:
        return coarser(self.stride)


class _GlobalPool(BaseOperation):
    """One value for each channel of a map, kept as a map of 1×1."""

    category = Category.POOLING

    def output_shape(self, *inputs: Shape) -> Shape:
        return (need_map(inputs[0])[0], 1, 1)

    def resolution(self) -> Stride | None:
        return None


class MaxPool2d(_Pool):
    """Largest value of each window; padding counts as minus infinity (a zero pad is a ``pad2d`` before the pool)."""

    label = "MaxPool2d"

    op: Literal["max_pool2d"]


class AvgPool2d(_Pool):
    """Mean of each window; ``count_include_pad`` says whether the padding's zeros count as values of it."""

    label = "AvgPool2d"

    op: Literal["avg_pool2d"]
    count_include_pad: Flag

    def roundings(self, *inputs: Shape) -> int:
        return prod(self.kernel)

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_count(cls, data: Any) -> Any:
        fields = mapping(data)
        if fields.get("padding", 0) not in (0, UNPADDED, [[0, 0], [0, 0]]):
            return cast("object", data)
        return {"count_include_pad": False} | fields


class GlobalAvgPool(_GlobalPool):
    """Mean over height and width, kept as a map of 1×1."""

    label = "AdaptiveAvgPool2d"

    op: Literal["global_avg_pool"]

    def roundings(self, *inputs: Shape) -> int:
        return prod(inputs[0][1:])


class GlobalMaxPool(_GlobalPool):
    """Largest value over height and width, kept as a map of 1×1."""

    label = "AdaptiveMaxPool2d"

    op: Literal["global_max_pool"]
