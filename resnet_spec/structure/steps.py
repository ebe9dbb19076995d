"""The form in which networks are compared: what each layer computes, regardless of how that is written.

Padding may be an attribute of a window or a node before it, a linear layer is a convolution of a 1×1 map, a pool over
the whole map is a global pool: graphs and files are both built by the methods here, so that equal computations are
equal steps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from math import copysign, inf
from struct import pack, unpack
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from resnet_spec.operations.fields import Edges, Shape
from resnet_spec.operations.windows import explicit_padding, is_unpadded, overhang, window_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

Padding: TypeAlias = Literal["same"] | Edges

AFFINE = ("scale", "shift")
"""Kinds of step that multiply each channel by a constant, or add one to it."""

JOINS = ("add", "multiply", "subtract", "divide", "maximum", "concat")

ORDERED = ("subtract", "divide", "concat", "matmul")
"""Kinds of step whose result depends on the order of their inputs."""


def to_float32(value: float) -> float:
    """Return a number as a file stores it."""
    try:
        return unpack("f", pack("f", value))[0]
    except OverflowError:
        return copysign(inf, value)


HARD_SIGMOID: Mapping[str, Any] = {"slope": to_float32(1 / 6), "offset": 0.5}
"""The fields of a hard sigmoid as PyTorch and Keras 3 define it; Keras 2 and ONNX's default have another slope."""

SMALLEST_NORMAL = 2.0**-126
"""The smallest normal float32: some exporters pad with it to work around a runtime's fusion of pads of zeros."""


class IncomparableError(Exception):
    """A network has an operation without a normal form; the message says which."""


class Tensor(NamedTuple):
    """A parameter of a graph, which has only a name; or a constant of a file, with the initializers it is made from."""

    names: tuple[str, ...]
    array: NDArray[Any] | None = None


@dataclass(frozen=True)
class Step:
    """What one layer computes: its ``kind``, and in ``fields`` everything else that changes the result.

    ``shape`` is (channels, height, width), with ones for a vector or a signal, and one more for a volume; see
    ``as_map``. ``inputs`` are indices of steps. ``source`` names the layer in messages. ``nonnegative`` says that no
    value is below zero, and ``folded`` that constants of the file were folded into the weights. ``values`` are what has
    the step's value: nodes of a graph by name, or tensors of a file.
    """

    kind: str
    fields: Mapping[str, Hashable]
    inputs: tuple[int, ...]
    shape: Shape
    source: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    nonnegative: bool = False
    folded: bool = False
    values: tuple[Hashable, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The layer's name in ``source``; empty for the input."""
        return self.source.rpartition(" (")[0].strip("'")


class Window(NamedTuple):
    """The kernel of a convolution or a pool, and how it moves, along each axis of positions."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    def for_axes(self, count: int) -> Window:
        """Return the window with axes appended that it does not extend along."""
        more = (1,) * (count - len(self.kernel))
        padding = self.padding if self.padding == "same" else (*self.padding, *((0, 0) for _ in more))
        return Window((*self.kernel, *more), (*self.stride, *more), padding, (*self.dilation, *more), self.ceil_mode)


POINT = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
"""The window of a linear layer."""


def as_map(shape: Shape) -> Shape:
    """Return a shape as every step has it: of three axes, or of four if the last is not 1."""
    longer = (*shape, 1, 1)[: max(3, len(shape))]
    return longer[:3] if set(longer[3:]) == {1} else longer


class NormalForm:
    """Steps in order of execution, the first of which is the input; ``outputs`` are indices of steps.

    Steps that compute the same are one step, however often they are written, unless ``stated`` keeps them apart.
    """

    stated: ClassVar[bool] = False

    def __init__(self, shape: Shape) -> None:
        self.steps = [Step("input", {}, (), as_map(shape), "its input")]
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
        nonnegative: bool = False,
        **fields: Hashable,
    ) -> int:
        """Return the index of a step, added unless an equal one exists; by default the shape is the first input's."""
        shape = as_map(shape or self.steps[inputs[0]].shape)
        step = Step(kind, fields, inputs, shape, source, tensors or {}, nonnegative)
        if self.stated or any(not tensor.names for tensor in step.tensors.values()):
            return self._append(step)
        weights = tuple((slot, tensor.names) for slot, tensor in step.tensors.items())
        key = (kind, tuple(fields.items()), inputs if kind in ORDERED else tuple(sorted(inputs)), shape, weights)
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
        """Add a convolution; pads of zeros before it become part of it."""
        window, edges = self._aligned(x, window)
        x, edges = self._absorb_pads(x, edges, _pads_zeros)
        counts, effective = self._effective(x, window, edges)
        dilation = tuple(d if k > 1 else 1 for d, k in zip(window.dilation, window.kernel, strict=True))
        return self.add(
            "convolution",
            (x,),
            source,
            (channels, *counts),
            tensors,
            **_trimmed(kernel=window.kernel, stride=window.stride, effective_padding=effective, dilation=dilation),
            groups=groups,
        )

    def transposed_convolution(
        self,
        x: int,
        source: str,
        shape: Shape,
        tensors: Mapping[str, Tensor],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        crop: Edges,
    ) -> int:
        """Add a transposed convolution; what is cropped after the map follows from the shape."""
        before = tuple(before for before, _ in crop[: len(kernel)])
        kind = "transposed_convolution"
        return self.add(kind, (x,), source, shape, tensors, kernel=kernel, stride=stride, crop=before)

    def max_pool(self, x: int, source: str, window: Window) -> int:
        """Add a max pool; a pad before it whose values are never the maximum becomes part of it."""

        def never_the_maximum(step: Step) -> bool:
            if step.fields["mode"] == "edge":
                # A window that covers a copy of an edge value covers the value itself.
                edges = _pad_edges(step)
                return all(max(pair) < kernel for pair, kernel in zip(edges, window.kernel, strict=False))
            lowest = 0.0 if self.steps[step.inputs[0]].nonnegative else -3e38
            return float(str(step.fields["value"])) <= lowest

        window, edges = self._aligned(x, window)
        x, edges = self._absorb_pads(x, edges, never_the_maximum, modes=("constant", "edge"))
        return self._pool("max_pool", x, source, window, edges, counted=None)

    def average_pool(self, x: int, source: str, window: Window, *, count_include_pad: bool) -> int:
        """Add an average pool; a pad of zeros before it becomes padding that counts."""
        window, edges = self._aligned(x, window)
        if count_include_pad or is_unpadded(edges):
            before, wider = self._absorb_pads(x, edges, _pads_zeros)
            count_include_pad, x, edges = count_include_pad or before != x, before, wider
        return self._pool("average_pool", x, source, window, edges, counted=count_include_pad)

    def _pool(self, kind: str, x: int, source: str, window: Window, edges: Edges, counted: bool | None) -> int:
        shape = _extended(self.steps[x].shape, len(edges))
        counts, effective = self._effective(x, window, edges)
        if max(*window.kernel, *window.stride) == 1 and is_unpadded(edges):
            return x
        if set(counts) == {1} and window.kernel == shape[1:] and is_unpadded(effective):
            return self.global_pool(f"global_{kind}", x, source)
        padded = any(before > 0 or after > 0 for before, after in effective)
        # Rows that a last window overhangs the stated padding by do not count.
        stated = tuple(
            (before, min(after, limit)) for (before, after), (_, limit) in zip(effective, edges, strict=True)
        )
        return self.add(
            "max_pool" if max(window.kernel) == 1 else kind,
            (x,),
            source,
            (shape[0], *counts),
            nonnegative=self.steps[x].nonnegative,
            **_trimmed(kernel=window.kernel, stride=window.stride, effective_padding=effective),
            counted_padding=stated if counted and padded else None,
        )

    def global_pool(self, kind: str, x: int, source: str) -> int:
        """Add a pool to one value per channel; of a map of one position it is the map itself."""
        step = self.steps[x]
        if set(step.shape[1:]) == {1}:
            return x
        return self.add(kind, (x,), source, (step.shape[0], 1, 1), nonnegative=step.nonnegative)

    def reduction(self, kind: str, x: int, source: str, axes: Iterable[int]) -> int:
        """Add a mean, maximum or sum along axes of the steps (0 is the channels); axes of size 1 do not count."""
        step = self.steps[x]
        longer = [axis for axis in sorted(axes) if step.shape[axis] != 1]
        # The norm of one value is its absolute value.
        if not longer and kind != "norm":
            return x
        pools = {"mean": "global_average_pool", "max": "global_max_pool"}
        if kind in pools and longer == [axis for axis, size in enumerate(step.shape) if axis and size != 1]:
            return self.global_pool(pools[kind], x, source)
        shape = tuple(1 if axis in longer else size for axis, size in enumerate(step.shape))
        return self.add(kind, (x,), source, shape, nonnegative=step.nonnegative, axes=tuple(longer))

    def _aligned(self, x: int, window: Window) -> tuple[Window, Edges]:
        """Return the window with as many axes as the step it reads, at least, and its padding in numbers."""
        shape = self.steps[x].shape
        window = window.for_axes(max(len(window.kernel), len(shape) - 1))
        sizes = _extended(shape, len(window.kernel))[1:]
        return window, explicit_padding(sizes, window.kernel, window.stride, window.padding, window.dilation)

    def _absorb_pads(
        self, x: int, edges: Edges, absorbs: Callable[[Step], bool], modes: Sequence[str] = ("constant",)
    ) -> tuple[int, Edges]:
        """Return the step before the pads that a window can absorb, and the window's edges with theirs added."""
        step = self.steps[x]
        while step.kind == "pad" and step.fields["mode"] in modes and not step.fields["channels"] and absorbs(step):
            both = zip_longest(edges, _pad_edges(step), fillvalue=(0, 0))
            edges = tuple((before + more, after + further) for (before, after), (more, further) in both)
            (x,) = step.inputs
            step = self.steps[x]
        return x, edges

    def _effective(self, x: int, window: Window, edges: Edges) -> tuple[tuple[int, ...], Edges]:
        """Return the number of windows, and the padding they cover: rows that no window reaches do not count."""
        shape = _extended(self.steps[x].shape, len(edges))
        counts = window_counts(shape, window.kernel, window.stride, edges, window.dilation, ceil_mode=window.ceil_mode)
        effective = tuple(
            (before, max(overhang(size + before, count, kernel, stride, dilation), 0))
            for size, count, kernel, stride, dilation, (before, _) in zip(
                shape[1:], counts, window.kernel, window.stride, window.dilation, edges, strict=True
            )
        )
        return counts, effective

    # -- others --------------------------------------------------------------------------------------------------

    def pad(self, x: int, source: str, edges: Edges, channels: tuple[int, int], mode: str, value: float) -> int:
        """Add rows, columns and channels around a map; a value too small to matter in float32 counts as 0."""
        value = 0.0 if abs(value) <= SMALLEST_NORMAL else value
        if is_unpadded(edges) and channels == (0, 0):
            return x
        before = self.steps[x].shape
        edges = (*edges, *[(0, 0)] * (len(before) - 1 - len(edges)))
        sizes = zip(_extended(before, len(edges)), (channels, *edges), strict=True)
        shape = tuple(size + sum(sides) for size, sides in sizes)
        extra = channels if any(channels) else ()
        trimmed = _trimmed(padding=edges)
        return self.add("pad", (x,), source, shape, **trimmed, channels=extra, mode=mode, value=value)

    def transpose(self, x: int, source: str, axes: Sequence[int]) -> int | None:
        """Add an exchange of axes, of which those of size 1 are left out; None: there is none in what is compared."""
        return None

    def reshape(self, x: int, source: str, shape: Shape) -> int:
        """Add a reshape, which replaces one before it; the same shape adds nothing."""
        while self.steps[x].kind == "reshape":
            (x,) = self.steps[x].inputs
        before = self.steps[x]
        if as_map(shape) == before.shape:
            return x
        return self.add("reshape", (x,), source, shape, nonnegative=before.nonnegative, to=as_map(shape))

    def join(self, kind: str, inputs: Sequence[int], source: str) -> int:
        """Add a sum, product, difference or maximum of two values, broadcast; one expanded to fit counts as it was."""
        unexpanded = [self._unexpanded(index) for index in inputs]
        shape = self._broadcast(inputs)
        indices = unexpanded if self._broadcast(unexpanded) == shape else inputs
        signs = [self.steps[index].nonnegative for index in indices]
        nonnegative = kind != "subtract" and (any(signs) if kind == "maximum" else all(signs))
        return self.add(kind, tuple(indices), source, shape, nonnegative=nonnegative)

    def _broadcast(self, indices: Iterable[int]) -> Shape:
        shapes = [self.steps[index].shape for index in indices]
        return tuple(max(sizes) for sizes in zip_longest(*shapes, fillvalue=1))

    def _unexpanded(self, x: int) -> int:
        return self.steps[x].inputs[0] if self.steps[x].kind == "expand" else x

    def factor(self, x: int, source: str, value: float) -> int:
        """Add a product with a constant, which is not learned."""
        nonnegative = self.steps[x].nonnegative and value > 0
        return self.add("factor", (x,), source, nonnegative=nonnegative, value=to_float32(value))

    def concat(self, inputs: Sequence[int], source: str, axis: int) -> int:
        """Add a concatenation along an axis of the steps (0 is the channels), including those that it reads."""
        parts: list[int] = []
        for index in inputs:
            step = self.steps[index]
            parts += step.inputs if step.kind == "concat" and step.fields["axis"] == axis else (index,)
        shape = list(self.steps[parts[0]].shape)
        shape[axis] = sum(self.steps[part].shape[axis] for part in parts)
        nonnegative = all(self.steps[part].nonnegative for part in parts)
        return self.add("concat", tuple(parts), source, tuple(shape), nonnegative=nonnegative, axis=axis)

    def slice(self, x: int, source: str, axis: int, start: int, stop: int) -> int:
        """Add a part along an axis of the steps (0 is the channels); a part of a part is one part."""
        step = self.steps[x]
        if (start, stop) == (0, step.shape[axis]):
            return x
        if step.kind == "slice" and step.fields["axis"] == axis:
            offset = int(str(step.fields["start"]))
            return self.slice(step.inputs[0], source, axis, offset + start, offset + stop)
        shape = list(step.shape)
        shape[axis] = stop - start
        nonnegative = step.nonnegative
        return self.add("slice", (x,), source, tuple(shape), nonnegative=nonnegative, axis=axis, start=start, stop=stop)

    def resize(self, x: int, source: str, axis: int, size: int, interpolation: str) -> int:
        """Add a resize of rows (axis 1) or columns (axis 2) to a size; a whole factor of the nearest is of one kind."""
        step = self.steps[x]
        before = step.shape[axis]
        if size == before:
            return x
        if interpolation.startswith("nearest") and size % before == 0:
            interpolation = "nearest"
        if interpolation == "nearest half_pixel down":
            raise IncomparableError(f"{source} rounds half down from {before} to {size}, which is not supported")
        shape = list(step.shape)
        shape[axis] = size
        found = (x,), source, tuple(shape)
        return self.add("resize", *found, nonnegative=step.nonnegative, axis=axis, interpolation=interpolation)

    def group_norm(
        self, x: int, source: str, groups: int, epsilon: float, tensors: Mapping[str, Tensor] | None = None
    ) -> int:
        """Add a normalization over groups of channels and all positions, with the scale and offset in ``tensors``."""
        x = self.add("group_norm", (x,), source, groups=groups, epsilon=to_float32(epsilon))
        for slot, kind, inverse in (("weight", "scale", "divided"), ("bias", "shift", "negated")):
            if tensors and slot in tensors:
                x = self.add(kind, (x,), source, None, {slot: tensors[slot]}, **{inverse: False})
        return x

    def is_rows(self, x: int) -> bool:
        """Whether a value is rows that a reshape made, whose normalization is one of groups."""
        step = self.steps[x]
        return step.kind == "reshape" and step.shape[2:] == (1,)

    def normalized_rows(self, x: int, source: str, epsilon: float) -> int:
        """Add the normalization of each row, as one of groups of what the rows were made of."""
        before = self.steps[x]
        return self.reshape(self.group_norm(before.inputs[0], source, before.shape[0], epsilon), source, before.shape)

    # -- the whole -----------------------------------------------------------------------------------------------

    def has_value(self, x: int, value: Hashable) -> None:
        """Note what has a step's value."""
        self.steps[x] = replace(self.steps[x], values=(*self.steps[x].values, value))

    def required(self, outputs: Iterable[int]) -> list[int]:
        """Return the indices of the steps that some steps need, with those and the input, in order."""
        needed = {0, *outputs}
        for index in reversed(range(len(self.steps))):
            if index in needed:
                needed.update(self.steps[index].inputs)
        return sorted(needed)

    def pruned(self, outputs: Iterable[int]) -> NormalForm:
        """Return the part that some steps need, which become its outputs."""
        outputs = list(outputs)
        kept = self.required(outputs)
        new_index = {old: new for new, old in enumerate(kept)}
        part = NormalForm(self.steps[0].shape)
        part.steps = [
            replace(self.steps[old], inputs=tuple(new_index[i] for i in self.steps[old].inputs)) for old in kept
        ]
        part.outputs = [new_index[old] for old in outputs]
        return part

    def consumers(self) -> list[list[int]]:
        """Return for each step the steps that read it."""
        consumers: list[list[int]] = [[] for _ in self.steps]
        for index, step in enumerate(self.steps):
            for read in step.inputs:
                consumers[read].append(index)
        return consumers


def _extended(shape: Shape, positions: int) -> Shape:
    """Return a shape with ones appended up to a number of axes of positions."""
    return (*shape, *[1] * (positions + 1 - len(shape)))


_NEUTRAL = (1, (0, 0))
"""What is stated along an axis that a window does not extend along, or a pad does not change."""


def _trimmed(**fields: tuple[Hashable, ...]) -> dict[str, Any]:
    """Return what is stated of each axis, without last ones, beyond two, along which nothing happens."""
    count = len(next(iter(fields.values())))
    while count > 2 and all(values[count - 1] in _NEUTRAL for values in fields.values()):
        count -= 1
    return {name: values[:count] for name, values in fields.items()}


def _pads_zeros(pad: Step) -> bool:
    return pad.fields["value"] == 0


def _pad_edges(step: Step) -> Edges:
    edges: Any = step.fields["padding"]
    return edges
