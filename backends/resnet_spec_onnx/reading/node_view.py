"""A node of a file and what it reads: constants, or what a step computes, seen through transpositions and reshapings.

Sizes are numbers, so whatever an exporter works out from them is a constant, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from onnx import AttributeProto, NodeProto

from resnet_spec.operations.fields import Shape
from resnet_spec_onnx.reading.constants import Constant, Unknown
from resnet_spec_onnx.reading.network import Network, Tensor
from resnet_spec_onnx.reading.normal_form import IncomparableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 7
"""Stands for a batch of any size: a number that no layer has by chance."""

CHANNELS_FIRST, CHANNELS_LAST = (0, 1, 2, 3), (0, 2, 3, 1)


@dataclass(frozen=True)
class Layout:
    """How a file's input is to be understood: its batch, its (channels, height, width), and the order of its axes.

    ``fixed`` is whether the file itself says the height and the width.
    """

    batch: int
    shape: Shape
    axes: tuple[int, ...]
    fixed: bool = True


@dataclass(frozen=True)
class Computed:
    """A step's value: for each axis that the file has of it, the step's own (0 the batch), or None where it was added.

    An axis of the step's that is not among them has the size 1.
    """

    step: int
    axes: tuple[int | None, ...]


Value: TypeAlias = Constant | Unknown | Computed


@dataclass
class Call:
    """One node: its inputs' values, and the network that it is added to."""

    node: NodeProto
    inputs: Sequence[Value | None]
    network: Network
    opset: int
    layout: Layout
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.source = f"{self.node.name or next(iter(self.node.output), '')!r} ({self.node.op_type})"

    def fail(self, message: str) -> IncomparableError:
        """The error that this node is not understood."""
        return IncomparableError(f"{self.source} {message}")

    # -- attributes ----------------------------------------------------------------------------------------------

    def _attribute(self, name: str, kind: Any, default: Any) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                if attribute.type != kind:
                    raise self.fail(f"has an attribute {name!r} of another type")
                return attribute
        return default

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """An attribute that is a list."""
        found = self._attribute(name, AttributeProto.INTS, None)
        return tuple(default) if found is None else tuple(found.ints)

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number."""
        found = self._attribute(name, AttributeProto.INT, None)
        return default if found is None else int(found.i)

    def real(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        found = self._attribute(name, AttributeProto.FLOAT, None)
        return default if found is None else float(found.f)

    def word(self, name: str, default: str) -> str:
        """An attribute that is a word."""
        found = self._attribute(name, AttributeProto.STRING, None)
        return default if found is None else found.s.decode("utf-8", "replace")

    def expect(self, **wanted: float) -> None:
        """Refuse attributes that have another value than the only one that is read."""
        for attribute in self.node.attribute:
            if attribute.name in wanted and wanted[attribute.name] not in (attribute.i, attribute.f):
                raise self.fail(f"has {attribute.name}, which is not read")

    # -- values --------------------------------------------------------------------------------------------------

    def given(self, index: int) -> bool:
        """Whether there is an input at a place."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def computed(self, index: int = 0) -> Computed:
        """An input that is no constant."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, Computed):
            raise self.fail("reads a constant where a value is wanted")
        return value

    def constant(self, index: int) -> Constant:
        """An input that is a constant."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, Unknown):
            raise self.fail(f"reads what is not known: {value.reason}")
        if not isinstance(value, Constant):
            raise self.fail("reads a value where a constant is wanted")
        return value

    def whole_numbers(self, index: int, attribute: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """What some versions of an operation have as an attribute and others as an input."""
        if self.given(index):
            array = self.constant(index).array
            if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 8:
                raise self.fail("reads no list of whole numbers where one is wanted")
            return tuple(int(number) for number in array.reshape(-1))
        found = self.integers(attribute)
        return found or (None if default is None else tuple(default))

    def shape_of(self, value: Computed) -> Shape:
        """A step's shape, the batch first."""
        return (self.layout.batch, *self.network.steps[value.step].shape)

    def sizes(self, value: Computed) -> tuple[int, ...]:
        """A value's shape as the file has it."""
        shape = self.shape_of(value)
        return tuple(1 if axis is None else shape[axis] for axis in value.axes)

    def axis(self, number: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= number < rank:
            raise self.fail(f"has no axis {number}")
        return number % rank

    def map_or_vector(self, value: Computed, rank: int) -> int:
        """The step of a value that has its axes in the order (batch, channels, positions...); those of size 1 fit.

        Where they are in order, but in other places, the value is what a reshaping step makes of it.
        """
        sizes = self.sizes(value)
        longer = [(place, axis) for place, axis in enumerate(value.axes) if sizes[place] != 1]
        axes = [-1 if axis is None else axis for _, axis in longer]
        if len(sizes) != rank or axes != sorted(axes) or sizes[0] != self.layout.batch:
            raise self.fail(f"reads {list(sizes)}, whose axes are not batch, channels and positions in this order")
        if all(axis == place for place, axis in longer):
            return value.step
        return self.network.reshape(value.step, self.source, sizes[1:])

    def result(self, step: int, rank: int = 4) -> Computed:
        """A new step's value, in the usual order."""
        return Computed(step, tuple(range(rank)))

    def like(self, value: Computed, kind: str, *, positive: bool) -> Computed:
        """A step that works on each element alike."""
        step = self.network.add(kind, (value.step,), self.source, positive=positive)
        return Computed(step, value.axes)

    def tensor(self, constant: Constant, array: NDArray[Any] | None = None) -> Tensor:
        """A constant as a step's parameter."""
        return Tensor(constant.names, constant.array if array is None else array)
