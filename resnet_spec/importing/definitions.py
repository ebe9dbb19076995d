"""One block with parameters out of blocks that are alike: what differs between them becomes a parameter.

Fields that always differ together are one parameter, and one that is a fixed multiple of an earlier one, or of the
input's channels, is an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, TypeAlias

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.importing.fields import Path, fields_of, leaves, replaced, stated_fields
from resnet_spec.importing.template import Template
from resnet_spec.operations import Conv

FACTORS = (2, 3, 4, 6, 8, 12, 16, 32)
"""Multiples that are written as such; others look like coincidence."""

RESERVED = frozenset(
    {"block", "repeat", "stride_in", "names", "first", "last", "from", "when", "call", "steps", "spec"}
)
"""Words that no parameter of a block can have."""

Layers: TypeAlias = Callable[[Node, dict[str, Any]], Any]
"""Writes an operation and its fields as a layer."""

Values: TypeAlias = tuple[Any, ...]
"""A number for each block, None for one that lacks the layer."""


class Slot(NamedTuple):
    """One number of one step, in each block."""

    step: str
    path: Path
    values: Values

    @property
    def field(self) -> str:
        """The field that it is in."""
        return str(self.path[0])


@dataclass
class Definition:
    """A block of the spec, and the blocks of the network that are made by it.

    Attributes:
        name: The block's name.
        templates: Its instances.
        parameters: Each parameter's value in each instance.
        body: The block as plain data; empty for a shipped block.
        facts: What the parameters of shipped blocks are called, and their values in each instance.
    """

    name: str
    templates: Sequence[Template]
    parameters: dict[str, Values] = field(default_factory=dict[str, Values])
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    facts: dict[str, Values] = field(default_factory=dict[str, Values])

    def arguments(self, template: Template) -> dict[str, Any]:
        """The parameters of one instance."""
        index = next(i for i, own in enumerate(self.templates) if own is template)
        return {name: values[index] for name, values in self.parameters.items()}

    def default(self, name: str) -> Any:
        """A parameter's default, or its type."""
        return self.body.get("parameters", {}).get(name)

    def as_shipped(self, block: str, parameters: Iterable[str], others: Definition | None = None) -> Definition:
        """The same instances, made by a shipped block with these parameters; and others that it makes already."""
        known = {**self.facts, **self.parameters}
        own = {name: known[name] for name in parameters if name in known}
        if others is None:
            return Definition(block, self.templates, own)
        both = {name: (*others.parameters[name], *own[name]) for name in own if name in others.parameters}
        return Definition(block, [*others.templates, *self.templates], both)


def define(
    name: str, graph: Graph, templates: Sequence[Template], layer: Layers, order: Mapping[str, int]
) -> Definition:
    """Write one block for templates that are alike; ``order`` is that of the source's own layers with arrays."""
    return _Writer(name, graph, templates, layer).write(order)


class _Writer:
    def __init__(self, name: str, graph: Graph, templates: Sequence[Template], layer: Layers) -> None:
        self.templates = templates
        self.layer = layer
        self.definition = Definition(name, templates)
        self.parameters = self.definition.parameters
        self.in_channels = tuple(graph.input_shapes(template.region.nodes[0])[0][0] for template in templates)
        self.channels = tuple(template.region.nodes[-1].shape[0] for template in templates)
        self.words: dict[str, dict[Path, Any]] = {}

    def write(self, order: Mapping[str, int]) -> Definition:
        example = max(self.templates, key=lambda template: (len(template.shortcut), template.join is not None))
        always = [_slots(self.templates, "main"), _slots(self.templates, "after")]
        self._choose(slot for slots in (*always, _slots(self.templates, "shortcut")) for slot in slots)
        body: dict[str, Any] = {"main": self._chain(example, example.main, INPUT)}
        if example.join is not None:
            body["shortcut"] = self._shortcut(example)
            join = example.local(example.join.name)
            body |= {"join": join} if join != "add" else {}
            if example.after:
                body["after"] = self._chain(example, example.after, join)
        if _first(example.shortcut, order) < _first(example.main, order):
            body["declare"] = ["shortcut", "main", "after"]
        self.definition.facts = self._facts()
        declared = {name: _declaration(name, values) for name, values in self.parameters.items()}
        self.definition.body = {**({"parameters": declared} if declared else {}), **body}
        return self.definition

    def _facts(self) -> dict[str, Values]:
        """The values that the parameters of shipped blocks have by their usual names."""
        operations = [[node.operation for node in template.main] for template in self.templates]
        widths = tuple(next((op.channels for op in own if isinstance(op, Conv)), 1) for own in operations)
        groups = tuple(max(getattr(op, "groups", 1) for op in own) for own in operations)
        strides = tuple(prod(getattr(op, "stride", (1,))[0] for op in own) for own in operations)
        facts = {"channels": self.channels, "width": widths, "stride": strides}
        return facts | ({"groups": groups} if set(groups) != {1} else {})

    # -- numbers -------------------------------------------------------------------------------------------------

    def _choose(self, slots: Iterable[Slot]) -> None:
        """Make parameters of what differs, and write each number in their words."""
        groups: dict[Values, list[Slot]] = {}
        for slot in slots:
            groups.setdefault(slot.values, []).append(slot)
        for values, members in sorted(groups.items(), key=lambda item: _rank(item[1], item[0])):
            word = self._word(members, values)
            for slot in members:
                self.words.setdefault(slot.step, {})[slot.path] = word

    def _word(self, members: Sequence[Slot], values: Values) -> Any:
        present = [value for value in values if value is not None]
        field = members[0].field
        # A layer that only some blocks have may have a parameter's value in all of them by chance.
        if None in values and field in self.parameters and _agree(self.parameters[field], values):
            return field
        if len(set(present)) == 1:
            return present[0]
        if found := self._expression(values):
            return found
        name = self._name(members, values)
        self.parameters[name] = tuple(present[0] if value is None else value for value in values)
        return name

    def _expression(self, values: Values) -> str | None:
        """Numbers in terms of the parameters and the input's channels; None if they are not a multiple of one."""
        bases = {**self.parameters, "in_channels": self.in_channels}
        for name, own in bases.items():
            if _agree(own, values):
                return name
        for name, own in bases.items():
            pairs = [(value, base) for value, base in zip(values, own, strict=True) if value is not None]
            if len({base for _, base in pairs}) < 2 or not all(_is_count(number) for pair in pairs for number in pair):
                continue
            for factor in FACTORS:
                if all(value == factor * base for value, base in pairs):
                    return f"{name} * {factor}"
                if all(base == factor * value for value, base in pairs):
                    return f"{name} // {factor}"
        return None

    def _name(self, members: Sequence[Slot], values: Values) -> str:
        widths = [slot for slot in members if slot.field in ("channels", "features")]
        fields = [slot.field for slot in members]
        if widths:
            wanted = "channels" if values == self.channels else "width"
        else:
            wanted = next((word for word in ("stride", "dilation", "groups") if word in fields), fields[0])
        first = (widths or members)[0]
        longer = re.sub(r"\W+", "_", f"{first.step}_{first.field}")
        longer = longer if longer[0].isalpha() else f"x{longer}"
        choices = (wanted, longer, *(f"{longer}_{number}" for number in range(2, 100)))
        return next(name for name in choices if name not in self.parameters.keys() | RESERVED)

    # -- the block -----------------------------------------------------------------------------------------------

    def _chain(self, template: Template, nodes: Sequence[Node], start: str) -> dict[str, Any]:
        """The steps of a chain; ``start`` is what its first step takes by default."""
        steps: dict[str, Any] = {}
        before = start
        for node in nodes:
            name = template.local(node.name)
            inputs = [template.local(read) for read in node.inputs]
            steps[name] = step(self._layer(name, node, template), inputs, before)
            before = name
        return steps

    def _layer(self, name: str, node: Node, template: Template) -> Any:
        if node.calls:
            return {"call": template.local(node.calls)}
        words = self.words.get(name, {})
        written = {path[0] for path, word in words.items() if isinstance(word, str)}
        needed = stated_fields(node).keys() | written
        fields = {key: value for key, value in fields_of(node).items() if key in needed}
        return self.layer(node, replaced(fields, words))

    def _shortcut(self, example: Template) -> dict[str, Any]:
        origin = {"from": example.origin_name} if example.origin else {}
        adds = [template.join is not None for template in self.templates]
        if not all(adds):
            return {"when": self._condition(adds, "residual"), **origin, "otherwise": "none"}
        if not example.shortcut:
            return origin
        layers = self._chain(example, example.shortcut, example.origin_name or INPUT)
        projects = [template.shortcut != () for template in self.templates]
        for name in layers:
            present = [name in template.shortcut_names for template in self.templates]
            if present != projects:
                parameter = "has_" + re.sub(r"\W", "_", name)
                layers[name] = conditional(layers[name], self._condition(present, parameter))
        if all(projects):
            return {**origin, "layers": layers}
        plain = next(template for template in self.templates if not template.shortcut)
        otherwise = {} if plain.origin == "" else {"otherwise": {"from": plain.origin_name}}
        return {"when": self._condition(projects, "projection"), **origin, "layers": layers, **otherwise}

    def _condition(self, wanted: Sequence[bool], otherwise: str) -> str:
        """When something is there, in the field's own words where they say it; else a parameter ``otherwise``."""
        strided = [stride != 1 for stride in self.parameters.get("stride", (1,) * len(wanted))]
        conditions: dict[str, Sequence[bool]] = {}
        if "stride" in self.parameters:
            conditions |= {"stride != 1": strided, "stride == 1": [not own for own in strided]}
        if word := self._expression(self.channels):
            widened = [own != given for own, given in zip(self.channels, self.in_channels, strict=True)]
            conditions |= {f"{word} != in_channels": widened, f"{word} == in_channels": [not own for own in widened]}
            if "stride" in self.parameters:
                either = [a or b for a, b in zip(strided, widened, strict=True)]
                conditions[f"stride != 1 or {word} != in_channels"] = either
                conditions[f"stride == 1 and {word} == in_channels"] = [not own for own in either]
        # The longer condition is the usual one, and holds for more networks than this.
        for condition in sorted(conditions, key=len, reverse=True):
            if list(conditions[condition]) == list(wanted):
                return condition
        self.parameters[otherwise] = tuple(wanted)
        return otherwise


def _slots(templates: Sequence[Template], section: str) -> list[Slot]:
    """The numbers of a section's steps."""
    chains = [{template.local(node.name): node for node in getattr(template, section)} for template in templates]
    found: list[Slot] = []
    for name in max(chains, key=len):
        nodes = [chain.get(name) for chain in chains]
        numbers = [
            {path: value for path, value, number in leaves(fields_of(node)) if number} if node else {} for node in nodes
        ]
        for path in dict.fromkeys(path for own in numbers for path in own):
            # A pool whose stride is its kernel does not state it.
            values = tuple(own.get(path, own.get(("kernel",))) for own in numbers)
            found.append(Slot(name, path, values))
    return found


def _rank(members: Sequence[Slot], values: Values) -> int:
    """Strides first, then widths, then others, and last what only some blocks have; each in the order of the layers."""
    fields = {slot.field for slot in members}
    if None in values:
        return 3
    if "stride" in fields:
        return 0
    return 1 if fields & {"channels", "features"} else 2


def _agree(own: Values, values: Values) -> bool:
    return all(value is None or value == known for value, known in zip(values, own, strict=True))


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and number > 0


def _first(nodes: Sequence[Node], order: Mapping[str, int]) -> int:
    """The place of the first layer of a section in the source's own order."""
    return min((order[node.name] for node in nodes if node.name in order), default=len(order))


def _declaration(name: str, values: Values) -> Any:
    """A parameter's type, or its default where the field has a usual one."""
    if isinstance(values[0], bool):
        return "bool"
    if name in ("stride", "dilation", "groups") and 1 in values:
        return 1
    return "int" if all(isinstance(value, int) for value in values) else "number"


# -- steps -------------------------------------------------------------------------------------------------------


def step(layer: Any, inputs: Sequence[str], before: str) -> Any:
    """A layer as a step, with ``from`` unless it takes the value of the step before."""
    if list(inputs) == [before]:
        return layer
    return {**_mapping(layer), "from": inputs[0] if len(inputs) == 1 else list(inputs)}


def conditional(layer: Any, condition: str) -> dict[str, Any]:
    """A step with ``when``."""
    return {**_mapping(layer), "when": condition}


def _mapping(layer: Any) -> dict[str, Any]:
    return {layer: {}} if isinstance(layer, str) else layer
