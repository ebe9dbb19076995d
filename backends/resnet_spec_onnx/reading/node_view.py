"""One node of a file and its inputs: constants, or values that a step computes, seen through a permutation of axes.

Every size is a number here, so that whatever an exporter computes from sizes is a constant, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from onnx import AttributeProto, NodeProto

from resnet_spec.operations.fields import Shape
from resnet_spec.structure.steps import IncomparableError, NormalForm, Tensor
from resnet_spec_onnx.reading.constant_folding import Constant, Unknown

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANY_BATCH = 7
"""Represents a dynamic batch: a size that no layer has by chance."""


def channels_first(rank: int) -> tuple[int, ...]:
    """Return the axes of a batch of values with ``rank`` axes of positions as PyTorch has them."""
    return tuple(range(rank + 2))


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the axes of such a batch as TensorFlow has them."""
    return (0, *range(2, rank + 2), 1)


CHANNELS_FIRST, CHANNELS_LAST = channels_first(2), channels_last(2)
"""Those of a batch of images."""


@dataclass(frozen=True)
class Layout:
    """How to read a file's input: its batch, its (channels, ...), and the order of its axes.

    ``fixed`` says that the file itself states all sizes. ``learned`` are the names of the initializers, if the
    spec has factors and terms that are learned by themselves; else nothing. ``factors`` are the constants, as float32,
    that the spec multiplies by; a product with another number is part of an activation or a folded normalization.
    """

    batch: int
    shape: Shape
    axes: tuple[int, ...]
    fixed: bool = True
    learned: frozenset[str] = frozenset()
    factors: frozenset[float] = frozenset()


@dataclass(frozen=True)
class Computed:
    """A step's value: for each axis in the file, the step's own axis (0 is the batch), or None for one that was added.

    An axis of the step that is not among them has size 1.
    """

    step: int
    axes: tuple[int | None, ...]


Value: TypeAlias = Constant | Unknown | Computed


@dataclass
class NodeView:
    """A node, the values of its inputs, and the network to which its steps are added."""

    proto: NodeProto
    inputs: Sequence[Value | None]
    network: NormalForm
    opset: int
    layout: Layout
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.source = f"{self.proto.name or next(iter(self.proto.output), '')!r} ({self.proto.op_type})"

    def error(self, message: str) -> IncomparableError:
        """Return an error about this node."""
        return IncomparableError(f"{self.source} {message}")

    # -- attributes ----------------------------------------------------------------------------------------------

    def _attribute(self, name: str, kind: Any) -> Any:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                if attribute.type != kind:
                    raise self.error(f"has an attribute {name!r} of another type")
                return attribute
        return None

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """Return an attribute that is a list of integers."""
        found = self._attribute(name, AttributeProto.INTS)
        return tuple(default) if found is None else tuple(found.ints)

    def integer(self, name: str, default: int = 0) -> int:
        """Return an attribute that is an integer."""
        found = self._attribute(name, AttributeProto.INT)
        return default if found is None else int(found.i)

    def real(self, name: str, default: float) -> float:
        """Return an attribute that is a floating-point number."""
        found = self._attribute(name, AttributeProto.FLOAT)
        return default if found is None else float(found.f)

    def reals(self, name: str) -> tuple[float, ...]:
        """Return an attribute that is a list of floating-point numbers; none if it is absent."""
        found = self._attribute(name, AttributeProto.FLOATS)
        return () if found is None else tuple(found.floats)

    def string(self, name: str, default: str) -> str:
        """Return an attribute that is a string."""
        found = self._attribute(name, AttributeProto.STRING)
        return default if found is None else found.s.decode("utf-8", "replace")

    def require(self, **wanted: float) -> None:
        """Raise unless each of these attributes is absent or has the only value that is supported."""
        for attribute in self.proto.attribute:
            value = attribute.f if attribute.type == AttributeProto.FLOAT else attribute.i
            if attribute.name in wanted and wanted[attribute.name] != value:
                raise self.error(f"has an unsupported value of {attribute.name!r}")

    # -- inputs --------------------------------------------------------------------------------------------------

    def has_input(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def computed(self, index: int = 0) -> Computed:
        """Return an input that must not be a constant."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, Computed):
            raise self.error("has a constant as an input that must be computed")
        return value

    def constant(self, index: int) -> Constant:
        """Return an input that must be a constant."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, Unknown):
            raise self.error(f"has an unknown input: {value.reason}")
        if not isinstance(value, Constant):
            raise self.error("has a computed input, or none, that must be a constant")
        return value

    def integer_input(self, index: int, attribute: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Return integers that are an attribute in some opsets and an input in others."""
        if self.has_input(index):
            array = self.constant(index).array
            if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 10:
                raise self.error("has an input that must be a short list of integers")
            return tuple(int(number) for number in array.reshape(-1))
        found = self.integers(attribute)
        return found or (None if default is None else tuple(default))

    def sizes(self, value: Computed) -> tuple[int, ...]:
        """Return a value's shape in the file, batch included."""
        shape = (self.layout.batch, *self.network.steps[value.step].shape)
        return tuple(1 if axis is None or axis >= len(shape) else shape[axis] for axis in value.axes)

    def channels(self, step: int) -> int:
        """Return the number of channels of a step."""
        return self.network.steps[step].shape[0]

    def positive_axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= axis < rank:
            raise self.error(f"has no axis {axis}")
        return axis % rank

    def channels_first(self, value: Computed, rank: int) -> int:
        """Return the step of a value whose axes are (batch, channels, positions...); axes of size 1 may be anywhere.

        If the axes are in this order but at other indices, that is a reshape, which is added.
        """
        sizes = self.sizes(value)
        longer = [(index, axis) for index, axis in enumerate(value.axes) if sizes[index] != 1]
        axes = [-1 if axis is None else axis for _, axis in longer]
        known = len(sizes) == rank and sizes[0] == self.layout.batch and -1 not in axes
        if known and axes != sorted(axes):
            own = [axis - 1 for axis in axes if axis]
            if (step := self.network.transpose(value.step, self.source, own)) is not None:
                return self.network.reshape(step, self.source, sizes[1:])
        if not known or axes != sorted(axes):
            raise self.error(f"reads {list(sizes)}, whose axes are not batch, channels and positions in this order")
        if all(axis == index for index, axis in longer):
            return value.step
        return self.network.reshape(value.step, self.source, sizes[1:])

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, step: int, rank: int = 4) -> Computed:
        """Return a new step's value with its axes in order."""
        return Computed(step, tuple(range(rank)))

    def elementwise(self, kind: str, *, nonnegative: bool = False, **fields: Any) -> Computed:
        """Add a step that computes each element from that of the first input."""
        value = self.computed()
        step = self.network.add(kind, (value.step,), self.source, nonnegative=nonnegative, **fields)
        return Computed(step, value.axes)

    def tensor(self, constant: Constant, array: NDArray[Any] | None = None) -> Tensor:
        """Return a constant as a step's parameter."""
        return Tensor(constant.names, constant.array if array is None else array)
