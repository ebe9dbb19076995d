"""A file's network as the file states it, where the normal form states what is computed.

Pads stay nodes, a pool of a 1×1 map is a pool, windows keep their stated padding, and the order of axes is a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from resnet_spec.operations.fields import UNPADDED
from resnet_spec.operations.windows import window_counts
from resnet_spec.structure.steps import NormalForm

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Edges, Shape
    from resnet_spec.structure.steps import Tensor, Window
    from resnet_spec_onnx.importing.standardized import WeightExpressions


class StatedForm(NormalForm):
    """Steps as the nodes of a file state them; the same step twice is two steps.

    ``transposes`` are the sources of nodes that exchange axes, which become a step where the order matters.
    ``expressions`` knows what the file computes of its weights.
    """

    stated = True

    def __init__(self, shape: Shape, expressions: WeightExpressions | None = None) -> None:
        super().__init__(shape)
        self.expressions = expressions
        self.transposes: dict[tuple[int, tuple[int, ...]], str] = {}
        self._transposed: dict[tuple[int, tuple[int, ...]], int] = {}

    def convolution(
        self, x: int, source: str, window: Window, channels: int, groups: int, tensors: Mapping[str, Tensor]
    ) -> int:
        """Add a convolution."""
        shape = (channels, *self._counts(x, window))
        return self.add("convolution", (x,), source, shape, tensors, window=window, groups=groups)

    def max_pool(self, x: int, source: str, window: Window) -> int:
        """Add a max pool."""
        return self._window_pool("max_pool", x, source, window, counted=False)

    def average_pool(self, x: int, source: str, window: Window, *, count_include_pad: bool) -> int:
        """Add an average pool."""
        return self._window_pool("average_pool", x, source, window, counted=count_include_pad)

    def _window_pool(self, kind: str, x: int, source: str, window: Window, *, counted: bool) -> int:
        step = self.steps[x]
        shape = (step.shape[0], *self._counts(x, window))
        return self.add(
            kind, (x,), source, shape, nonnegative=step.nonnegative, window=window, count_include_pad=counted
        )

    def _counts(self, x: int, window: Window) -> tuple[int, ...]:
        return window_counts(self.steps[x].shape, *window[:4], ceil_mode=window.ceil_mode)

    def global_pool(self, kind: str, x: int, source: str) -> int:
        """Add a pool to one value per channel."""
        step = self.steps[x]
        return self.add(kind, (x,), source, (step.shape[0], 1, 1), nonnegative=step.nonnegative)

    def reduction(self, kind: str, x: int, source: str, axes: Iterable[int]) -> int:
        """Add a mean, maximum, sum or norm along axes of the steps (0 is the channels)."""
        step, axes = self.steps[x], tuple(sorted(axes))
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(step.shape))
        return self.add(kind, (x,), source, shape, nonnegative=step.nonnegative or kind == "norm", axes=axes)

    def reshape(self, x: int, source: str, shape: Shape) -> int:
        """Add a reshape, which replaces one before it and keeps its own number of axes."""
        while self.steps[x].kind == "reshape":
            (x,) = self.steps[x].inputs
        step = self.steps[x]
        if shape == step.shape:
            return x
        return self.add("reshape", (x,), source, shape, nonnegative=step.nonnegative, to=shape)

    def pad(self, x: int, source: str, edges: Edges, channels: tuple[int, int], mode: str, value: float) -> int:
        """Add rows, columns and channels around a map; none at this size may be some at another."""
        if any(channels) or edges != UNPADDED:
            return super().pad(x, source, edges, channels, mode, value)
        return self.add("pad", (x,), source, padding=edges, channels=(), mode=mode, value=value)

    def transpose(self, x: int, source: str, axes: Sequence[int]) -> int:
        """Add an exchange of axes; ``axes`` lacks those of size 1, which come last."""
        step = self.steps[x]
        order = (*axes, *(axis for axis in range(len(step.shape)) if axis not in axes))
        if (x, order) not in self._transposed:
            shape = tuple(step.shape[axis] for axis in order)
            source = self.transposes.get((x, tuple(axes)), source)
            nonnegative = step.nonnegative
            self._transposed[x, order] = self.add("transpose", (x,), source, shape, nonnegative=nonnegative, axes=order)
        return self._transposed[x, order]

    def concat(self, inputs: Sequence[int], source: str, axis: int) -> int:
        """Add a concatenation along an axis of the steps (0 is the channels)."""
        if len(inputs) == 1:
            return inputs[0]
        shape = list(self.steps[inputs[0]].shape)
        shape[axis] = sum(self.steps[index].shape[axis] for index in inputs)
        nonnegative = all(self.steps[index].nonnegative for index in inputs)
        return self.add("concat", tuple(inputs), source, tuple(shape), nonnegative=nonnegative, axis=axis)

    def slice(self, x: int, source: str, axis: int, start: int, stop: int) -> int:
        """Add a part along an axis of the steps (0 is the channels)."""
        step = self.steps[x]
        shape = list(step.shape)
        shape[axis] = stop - start
        nonnegative = step.nonnegative
        return self.add("slice", (x,), source, tuple(shape), nonnegative=nonnegative, axis=axis, start=start, stop=stop)

    def resize(self, x: int, source: str, axis: int, size: int, interpolation: str) -> int:
        """Add a resize of rows (axis 1) or columns (axis 2) to a size."""
        step = self.steps[x]
        # Enlarged by a whole number, no position is halfway between two.
        if interpolation == "nearest half_pixel down" and size % step.shape[axis] == 0:
            interpolation = "nearest half_pixel"
        shape = list(step.shape)
        shape[axis] = size
        nonnegative = step.nonnegative
        return self.add(
            "resize", (x,), source, tuple(shape), nonnegative=nonnegative, axis=axis, interpolation=interpolation
        )
