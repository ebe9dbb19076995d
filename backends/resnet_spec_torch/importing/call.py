"""One recorded function and its arguments: values of the graph, arrays of the model, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from resnet_spec.backend import Draft, GraphBuilder, Table, Value
from resnet_spec.operations import Shape


class Array(NamedTuple):
    """A parameter or buffer of the model, with the name that a state_dict has for it."""

    name: str
    tensor: torch.Tensor
    trainable: bool

    @property
    def layer(self) -> str:
        """The module that it belongs to, or its own name if its module does not call it as PyTorch's layers do."""
        module, _, slot = self.name.rpartition(".")
        return module if slot in ("weight", "bias", "running_mean", "running_var") and module else self.name


@dataclass(frozen=True)
class Unreached(Value):
    """A value and minus infinity around it, as a max pool in a module of its own pads; ``padding`` is of each axis."""

    padding: tuple[tuple[int, int], ...] = ()
    unpadded: Shape = ()


@dataclass(frozen=True, eq=False)
class Expression:
    """A function that is not an operation by itself, of values, arrays, numbers and other expressions.

    Attributes:
        target: The function.
        args: What it is called with.
        kwargs: What it is called with by name.
        shape: Of the result with the batch; None if there are several.
        in_place: Whether it overwrites its first argument.
        where: The function, the module and the user's line.
        message: What is wrong with it unless it becomes a part of an operation.
    """

    target: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    shape: Shape | None
    in_place: bool
    where: str
    message: str


Result: TypeAlias = "Value | Array | Expression | tuple[Value | None, ...] | None"


@dataclass
class Call:
    """A call of an ATen function.

    Attributes:
        function: Its name, such as ``aten.conv2d``.
        arguments: By the names in its schema; what depends on the input is a ``Value``.
        name: Of the node: the module that calls it, and a word if the module is not a layer itself.
        module: The path of the module that calls it.
        layer: The module that calls it, as it is in Python; None if it is a program of a file.
        where: The function, the module and the user's line.
        shape: Of the result without the batch, or of each result.
        readers: Names of the functions that read the result.
        alone: Whether nothing else reads its first argument.
        builder: The graph that it is added to.
        arrays: What the graph's parameters are filled with, by their names.
        remarks: What is read differently from how the source states it, and the names of such nodes.
        defer: Makes the call a part of an expression: what is wrong with it unless that is an operation.
        unexpressed: Reports what an expression, which is not an operation, is computed by.
    """

    function: str
    arguments: dict[str, Any]
    name: str
    module: str
    layer: nn.Module | None
    where: str
    shape: Shape
    readers: frozenset[str]
    alone: bool
    builder: GraphBuilder
    arrays: dict[str, Array]
    remarks: dict[str, list[str]]
    defer: Callable[[str], Expression]
    unexpressed: Callable[[Expression], None]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def scope(self) -> str:
        """The prefix of the module around."""
        return self.name[: self.name.rfind(".") + 1]

    def made_by(self, x: Value | None, *ops: str) -> Draft | None:
        """The node that computes a value, if it is one of these operations and the same module calls it."""
        draft = self.builder.draft(x)
        if draft is None or draft.operation.op not in ops:
            return None
        return draft if self.module in (draft.name, draft.name.rpartition(".")[0]) else None

    def value(self, name: str = "") -> Value | None:
        """An argument that must depend on the input; the first one by default."""
        found = self.arguments[name or next(iter(self.arguments))]
        if isinstance(found, Expression):
            return self.unexpressed(found)
        return found if isinstance(found, Value) else self.refuse("has a constant where a value is expected")

    def refuse(self, message: str) -> None:
        """Report that the language cannot express the call."""
        return self.builder.problem(message, self.where)

    def remark(self, kind: str) -> None:
        """Note what is read differently; calls of one kind make one sentence."""
        names = self.remarks.setdefault(kind, [])
        if self.name not in names:
            names.append(self.name)

    def add(self, op: str, *inputs: Value | None, **fields: Any) -> Value | None:
        """Add an operation without arrays."""
        return self.builder.add(op, inputs, self.name, where=self.where, **fields)

    def reshaped(self, x: Value | None) -> Value | None:
        """Add a reshape of a value to the shape of the call's result, if it has another one."""
        if x is None or x.shape == self.shape:
            return x
        if len(self.shape) == 1:
            name = self.name if self.name.endswith(("flatten", "view", "reshape")) else f"{self.scope}flatten"
            return self.builder.add("flatten", [x], name, where=self.where)
        if len(self.shape) < len(x.shape) and self.shape[:-1] == x.shape[: len(self.shape) - 1]:
            return self.add("flatten", x, axis=len(self.shape) - 1)
        return self.add("reshape", x, shape=list(self.shape))

    def add_layer(self, op: str, x: Value | None, slots: dict[str, Any], **fields: Any) -> Value | None:
        """Add an operation with arrays: those of ``slots`` that are not None, by the names that the language has."""
        owned = {slot: array for slot, array in slots.items() if array is not None}
        if any(not isinstance(array, Array) for array in owned.values()):
            return self.refuse("has weights that are computed")
        if not owned:
            return self.add(op, x, **fields)
        # The first array names the layer: by its module if that calls it as the language or as PyTorch's layers do.
        slot, first = next(iter(owned.items()))
        layer = first.name.removesuffix(f".{slot}") if first.name != slot else first.layer
        layer = first.layer if layer == first.name else layer
        value = self.builder.add(op, [x], layer, layer=True, where=self.where, **fields)
        for slot, array in owned.items():
            known = self.arrays.setdefault(f"{layer}.{slot}" if slot else array.name, array)
            if known.tensor is not array.tensor and known.name != array.name:
                return self.refuse(f"shares {layer}'s weights only in part")
        return value


CALLS: Table[Callable[[Call], Result]] = Table("reader")
"""By the name of an ATen function, such as ``aten.conv2d``: reads one call."""

TAKES_EXPRESSIONS = frozenset(
    {"aten.index_select", *(f"aten.conv{rank}d{named}" for rank in (1, 2, 3) for named in ("", ".padding"))}
)
"""Functions whose reader reads expressions."""


def number(value: Any) -> bool:
    """Whether an argument is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def each(value: Any, rank: int) -> Any:
    """An argument for each axis as a spec has it: one number if all are equal."""
    found = [value] * rank if isinstance(value, int) else list(value)
    return found[0] if len(set(found)) == 1 else found


def edges(value: Any, rank: int) -> Any:
    """A padding that is equal at both ends of each axis."""
    found = each(value, rank)
    return found if isinstance(found, int) else [[edge, edge] for edge in found]
