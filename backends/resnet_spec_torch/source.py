"""Generates the source of a group's ``forward``: one call a line, a variable reused after its last use.

A value without a name is freed while the rest runs, as in a hand-written network; a name per value would keep all
feature maps in memory at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING

from resnet_spec.graph import INPUT
from resnet_spec_torch.emitting import IN_PLACE, NEW_VALUE, PARAMETERS, expression
from resnet_spec_torch.grouping import Call, Group, Path

if TYPE_CHECKING:
    import torch

    from resnet_spec.quantization import Grid


def module_text(path: Path) -> str:
    """Return the source for the module at a path from ``self``: ``self.conv1``, ``getattr(self.layers, '0')``."""
    text = "self"
    for part in path:
        text = f"{text}.{part}" if part.isidentifier() and not iskeyword(part) else f"getattr({text}, {part!r})"
    return text


def forward_text(group: Group, grids: Mapping[str, Grid], autocast: torch.dtype | None = None) -> str:
    """Return the source of ``def forward(self, x)`` for a group; values that have a grid are rounded to it."""
    statements = _Writer(group, grids).statements()
    if autocast is None:
        return "\n    ".join(["def forward(self, x):", *statements]) + "\n"
    opening = ["def forward(self, x):", f"    with torch.autocast(x.device.type, {autocast}):"]
    return "\n".join(opening) + "".join(f"\n        {statement}" for statement in statements) + "\n"


def grid_text(value: str, grid: Grid) -> str:
    """Return the source that rounds a value to its grid."""
    return f"on_grid({value}, {grid.scale!r}, {grid.zero_point})"


class _Writer:
    def __init__(self, group: Group, grids: Mapping[str, Grid]) -> None:
        self.group = group
        self.grids = grids
        self.producers = {call.value: call for call in group.calls}
        self.uses = Counter([*(name for call in group.calls for name in call.inputs), *group.outputs])
        self.variables = {group.input: "x"}

    def statements(self) -> list[str]:
        left = self.uses.copy()
        statements: list[str] = []
        if self.group.input == INPUT and INPUT in self.grids:
            statements.append(f"x = {grid_text('x', self.grids[INPUT])}")
        for call in self.group.calls:
            text = self.call_text(call)
            if call.node is not None and call.value in self.grids:
                text = grid_text(text, self.grids[call.value])
            left.subtract(call.inputs)
            freed = [self.variables.pop(name) for name in dict.fromkeys(call.inputs) if not left[name]]
            self.variables[call.value] = freed[0] if freed else self.new_variable()
            statements.append(f"{self.variables[call.value]} = {text}")
        if self.group.outputs == (self.group.calls[-1].value,) and not self.group.names:
            statements[-1] = f"return {statements[-1].partition(' = ')[2]}"
        else:
            statements.append(f"return {self.returned_text()}")
        return statements

    def returned_text(self) -> str:
        outputs = [self.variables[name] for name in self.group.outputs]
        if self.group.names:
            pairs = zip(self.group.names, outputs, strict=True)
            return f"{{{', '.join(f'{name!r}: {output}' for name, output in pairs)}}}"
        return f"[{', '.join(outputs)}]" if len(outputs) > 1 else outputs[0]

    def new_variable(self) -> str:
        taken = set(self.variables.values())
        names = ("x", "y", "z", *(f"x{number}" for number in range(1, len(taken) + 1)))
        return next(name for name in names if name not in taken)

    def call_text(self, call: Call) -> str:
        arguments = [self.variables[name] for name in call.inputs]
        in_place = self.in_place_text(call)
        if in_place is not None:
            return in_place
        if call.path or call.node is None:
            return f"{module_text(call.path)}({', '.join(arguments)})"
        operation = call.node.operation
        if call.parameter:
            return PARAMETERS[operation.op](operation, call.node.shape, *arguments, module_text(call.parameter))
        return expression(operation, call.node.shape, *arguments)

    def in_place_text(self, call: Call) -> str | None:
        """Return the call that may overwrite one of its inputs, or None: see ``forward_namespace``."""
        function = IN_PLACE.get(call.node.operation.op) if call.node else None
        if function is None or len(call.inputs) > 2:
            return None
        overwritten = next((name for name in call.inputs if self.is_new(name)), None)
        if overwritten is None:
            return None
        producer = self.producers[overwritten]
        others = [name for name in call.inputs if name != overwritten]
        arguments = [self.variables[name] for name in (overwritten, *others)]
        if call.path:
            arguments.insert(0, module_text(call.path))
        if producer.path:
            arguments.append(module_text(producer.path))
        return f"{function}({', '.join(arguments)})"

    def is_new(self, name: str) -> bool:
        """Return whether a value is computed in this group by an operation that allocates memory, and used once."""
        producer = self.producers.get(name)
        node = producer.node if producer else None
        return self.uses[name] == 1 and node is not None and node.operation.op in NEW_VALUE
