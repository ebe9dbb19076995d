"""The form in which a graph and a file are compared: what each layer computes, and nothing of how that is written.

Padding may stand in a window or before it, a linear layer is a convolution of a map of 1×1, a pool over the whole map
is a global one: both sides are put together by the functions here, so that one thing has one form.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from resnet_spec.operations.fields import UNPADDED, Edges, Shape
from resnet_spec.operations.windows import same_padding, window_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

Padding: TypeAlias = Literal["same"] | Edges

AFFINE = ("scale", "shift")
"""Kinds of step that multiply each channel by a constant, or add one to it."""

JOINS = ("add", "multiply")

SMALLEST = 2.0**-126
"""The smallest normal number in single precision: some exporters pad with it where a runtime mistreats 0."""


class Tensor(NamedTuple):
    """A parameter of a graph, by its name alone; or a constant of a file, with the initializers it was made from."""

    names: tuple[str, ...]
    array: NDArray[Any] | None = None


@dataclass(frozen=True)
class Step:
    """What one layer computes: its ``kind``, and in ``fields`` whatever else changes the result.

    ``shape`` is (channels, height, width), ones at the end for what is no map; ``inputs`` are the numbers of steps.
    ``source`` says for messages where it is from. ``positive`` is whether no value is below zero, and ``multiplied``
    whether constants of a file were multiplied into its weights.
    """

    kind: str
    fields: Mapping[str, Hashable]
    inputs: tuple[int, ...]
    shape: Shape
    source: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    positive: bool = False
    multiplied: bool = False


class Window(NamedTuple):
    """What slides over a map."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False


def three(shape: Shape) -> Shape:
    """A shape with ones at its end, as all are here."""
    return (*shape, 1, 1)[: max(3, len(shape))]


class Network:
    """Steps in order of execution, the first of which is the input; ``outputs`` are numbers of steps.

    What has no weights and computes the same is one step, however often it is written.
    """

    def __init__(self, shape: Shape) -> None:
        self.steps = [Step("input", {}, (), three(shape), "its input")]
        self.outputs: list[int] = []
        self._known: dict[Hashable, int] = {}

    def add(
        self,
        kind: str,
        inputs: tuple[int, ...],
        source: str,
        shape: Shape | None = None,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        positive: bool = False,
        **fields: Hashable,
    ) -> int:
        """A step's number; the shape is the first input's unless given."""
        shape = three(shape or self.steps[inputs[0]].shape)
        step = Step(kind, fields, inputs, shape, source, tensors or {}, positive)
        if any(not tensor.names for tensor in step.tensors.values()):
            return self._append(step)
        weights = tuple((slot, tensor.names) for slot, tensor in step.tensors.items())
        key = (kind, tuple(fields.items()), tuple(sorted(inputs)), shape, weights)
        if key not in self._known:
            self._known[key] = self._append(step)
        return self._known[key]

    def _append(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    # -- windows -------------------------------------------------------------------------------------------------

    def convolution(
        self, x: int, source: str, window: Window, channels: int, groups: int, tensors: Mapping[str, Tensor]
    ) -> int:
        """A convolution; a pad of zeros before it is part of it."""
        x, edges = self._unpadded(x, self._edges(x, window), _of_zeros)
        counts, canonical = self._counted(x, window, edges)
        return self.add(
            "convolution",
            (x,),
            source,
            (channels, *counts),
            tensors,
            kernel=window.kernel,
            stride=window.stride,
            effective_padding=canonical,
            dilation=_dilation(window),
            groups=groups,
        )

    def max_pool(self, x: int, source: str, window: Window) -> int:
        """The largest of each window; a pad that no window's maximum can come from is part of it."""

        def without_effect(step: Step) -> bool:
            if step.fields["mode"] == "edge":
                # Whichever window sees a copy of the edge sees the edge.
                edges = _edges_of(step)
                return all(max(pair) < kernel for pair, kernel in zip(edges, window.kernel, strict=True))
            lowest = 0.0 if self.steps[step.inputs[0]].positive else -3e38
            return float(str(step.fields["value"])) <= lowest

        edges = self._edges(x, window)
        x, edges = self._unpadded(x, edges, without_effect, modes=("constant", "edge"))
        return self._pool("max_pool", x, source, window, edges, counted=None)

    def average_pool(self, x: int, source: str, window: Window, *, count_include_pad: bool) -> int:
        """The mean of each window; a pad of zeros before it is padding that counts."""
        edges = self._edges(x, window)
        if count_include_pad or edges == UNPADDED:
            below, wider = self._unpadded(x, edges, _of_zeros)
            count_include_pad, x, edges = count_include_pad or below != x, below, wider
        return self._pool("average_pool", x, source, window, edges, counted=count_include_pad)

    def _pool(self, kind: str, x: int, source: str, window: Window, edges: Edges, counted: bool | None) -> int:
        shape = self.steps[x].shape
        counts, canonical = self._counted(x, window, edges)
        if window.kernel == window.stride == (1, 1) and edges == UNPADDED:
            return x
        if counts == (1, 1) and window.kernel == shape[1:] and canonical == UNPADDED:
            return self.global_pool(f"global_{kind}", x, source)
        padded = any(before > 0 or after > 0 for before, after in canonical)
        # Only rows that are padding by name count, and not those that a last window sticks out by.
        real = tuple((before, min(after, said)) for (before, after), (_, said) in zip(canonical, edges, strict=True))
        return self.add(
            "max_pool" if window.kernel == (1, 1) else kind,
            (x,),
            source,
            (shape[0], *counts),
            positive=self.steps[x].positive,
            kernel=window.kernel,
            stride=window.stride,
            effective_padding=canonical,
            counted=real if counted and padded else None,
        )

    def global_pool(self, kind: str, x: int, source: str) -> int:
        """One value for each channel; of a map of 1×1 it is the map."""
        step = self.steps[x]
        if step.shape[1:] == (1, 1):
            return x
        return self.add(kind, (x,), source, (step.shape[0], 1, 1), positive=step.positive)

    def _edges(self, x: int, window: Window) -> Edges:
        if window.padding != "same":
            return window.padding
        sizes = zip(self.steps[x].shape[1:], window.kernel, window.stride, window.dilation, strict=True)
        rows, columns = (same_padding(*axis) for axis in sizes)
        return rows, columns

    def _unpadded(
        self, x: int, edges: Edges, joins: Callable[[Step], bool], modes: Sequence[str] = ("constant",)
    ) -> tuple[int, Edges]:
        """What pads before a window pad, and the window's edges with theirs, where ``joins`` says that they may."""
        step = self.steps[x]
        while step.kind == "pad" and step.fields["mode"] in modes and not step.fields["channels"] and joins(step):
            (top, bottom), (left, right) = edges
            (above, below), (before, after) = _edges_of(step)
            edges = (top + above, bottom + below), (left + before, right + after)
            (x,) = step.inputs
            step = self.steps[x]
        return x, edges

    def _counted(self, x: int, window: Window, edges: Edges) -> tuple[tuple[int, int], Edges]:
        """How many windows there are, and the edges that they see: rows that no window reaches do not count."""
        shape = self.steps[x].shape
        counts = window_counts(shape, window.kernel, window.stride, edges, window.dilation, ceil_mode=window.ceil_mode)
        rows, columns = (
            (before, max((count - 1) * stride + dilation * (kernel - 1) + 1 - size - before, 0))
            for size, kernel, stride, dilation, count, (before, _) in zip(
                shape[1:], window.kernel, window.stride, window.dilation, counts, edges, strict=True
            )
        )
        return counts, (rows, columns)

    # -- others --------------------------------------------------------------------------------------------------

    def pad(self, x: int, source: str, edges: Edges, channels: tuple[int, int], mode: str, value: float) -> int:
        """Rows, columns and channels around a map; a value that is lost in rounding next to any other is 0."""
        value = 0.0 if abs(value) <= SMALLEST else value
        if edges == UNPADDED and channels == (0, 0):
            return x
        depth, height, width = self.steps[x].shape
        shape = depth + sum(channels), height + sum(edges[0]), width + sum(edges[1])
        said = channels if any(channels) else ()
        return self.add("pad", (x,), source, shape, padding=edges, channels=said, mode=mode, value=value)

    def reshape(self, x: int, source: str, shape: Shape) -> int:
        """The same values, in their order, in another shape."""
        while self.steps[x].kind == "reshape":
            (x,) = self.steps[x].inputs
        before = self.steps[x]
        if three(shape) == before.shape:
            return x
        return self.add("reshape", (x,), source, shape, positive=before.positive, to=three(shape))

    def join(self, kind: str, inputs: Iterable[int], source: str) -> int:
        """The sum or product of two values, in whatever order; a value that was repeated to fit counts as it was."""
        numbers = [self._unexpanded(number) if kind == "multiply" else number for number in inputs]
        shape = max((self.steps[number].shape for number in numbers), key=lambda shape: shape[1] * shape[2])
        positive = all(self.steps[number].positive for number in numbers)
        return self.add(kind, tuple(numbers), source, shape, positive=positive)

    def _unexpanded(self, x: int) -> int:
        return self.steps[x].inputs[0] if self.steps[x].kind == "expand" else x

    def normalization(self, x: int, source: str, groups: int, epsilon: float) -> int:
        """A normalization over groups of channels and all positions, without scale and offset."""
        return self.add("group_norm", (x,), source, groups=groups, epsilon=single(epsilon))

    # -- the whole -----------------------------------------------------------------------------------------------

    def pruned(self, outputs: Iterable[int]) -> Network:
        """The part that some steps need, which become its outputs."""
        outputs = list(outputs)
        needed = {0, *outputs}
        for number in reversed(range(len(self.steps))):
            if number in needed:
                needed.update(self.steps[number].inputs)
        kept = sorted(needed)
        place = {number: index for index, number in enumerate(kept)}
        part = Network(self.steps[0].shape)
        part.steps = [
            replace(self.steps[number], inputs=tuple(place[i] for i in self.steps[number].inputs)) for number in kept
        ]
        part.outputs = [place[number] for number in outputs]
        return part

    def consumers(self) -> list[list[int]]:
        """For each step the steps that read it."""
        readers: list[list[int]] = [[] for _ in self.steps]
        for number, step in enumerate(self.steps):
            for read in step.inputs:
                readers[read].append(number)
        return readers


def single(value: float) -> float:
    """A number as a file keeps it, in single precision."""
    import numpy as np

    return float(np.float32(value))


def _dilation(window: Window) -> tuple[int, int]:
    rows, columns = (d if k > 1 else 1 for d, k in zip(window.dilation, window.kernel, strict=True))
    return rows, columns


def _of_zeros(pad: Step) -> bool:
    return pad.fields["value"] == 0


def _edges_of(step: Step) -> Edges:
    edges: Any = step.fields["padding"]
    return edges
