"""Lowers chains: steps, blocks with their shortcuts, and steps that repeat."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from resnet_spec.errors import KeyPath, shown, suggest
from resnet_spec.graph import INPUT, Scope
from resnet_spec.operations import WORDS
from resnet_spec.spec.diagnostics import Diagnostics, LoweringStoppedError
from resnet_spec.spec.expressions import UNKNOWN, Unknown
from resnet_spec.spec.expressions import Value as Number
from resnet_spec.spec.models import ABSENT, TYPES, Chain, Identity, Network, Otherwise, Outputs, Shortcut, Step
from resnet_spec.spec.node_building import GraphBuilder
from resnet_spec.spec.resolution import UNKNOWN_LAYER, Bound, Environment, Resolver
from resnet_spec.spec.values import UNKNOWN_PARTS, Value, find, names

MAX_LAYERS = 100_000
MAX_BLOCK_DEPTH = 20
MAX_CHAIN_DEPTH = 50
"""The most chains within each other: of blocks, of groups of steps, and of networks that are parts."""

PREVIOUS = "previous"
"""The name, in a repeated step, of the result before."""

Namer: TypeAlias = Callable[[str], str]

_ADDITION = Bound("add", {}, {})
_COUNTER = re.compile(r"{([^{}]*)}")


@dataclass(frozen=True)
class Surroundings:
    """What a chain is lowered in: the meaning of names, how layers are named, the values that its steps may refer to.

    ``name`` gives the full name of a layer by its name in the block around, and ``layers`` the latter of earlier steps;
    ``prefix`` is that of the repeated steps around, within the block, and ``counters`` are theirs. With ``examining``
    no layers are made, and mistakes that do not depend on numbers are reported.
    """

    environment: Environment
    name: Namer
    values: MutableMapping[str, Value]
    layers: MutableMapping[str, str] = field(default_factory=dict[str, str])
    prefix: str = ""
    counters: Mapping[str, str] = field(default_factory=dict[str, str])
    examining: bool = False

    def expanded(self, text: str) -> str:
        """A name with the counters of the repeated steps around it."""
        return _expanded(text, self.counters)

    def key(self, name: str, step: Step) -> str:
        """The name by which other steps refer to a step; the counters of a repeated one are its own."""
        counters = self.counters
        if step.repeat is not None:
            counters = {counter: text for counter, text in counters.items() if "." in counter}
        return _expanded(name, counters)

    def named(self, name: str) -> str:
        """A step's name in the block: as written if it has a counter, otherwise below the repeated step around it."""
        return self.expanded(name) if "{" in name else f"{self.prefix}{name}"

    def layer(self, key: str) -> str:
        """The full name of an earlier step's layer, or of one of a repeated step's layers (``convs.0``)."""
        end = len(key)
        while end > 0 and key[:end] not in self.layers:
            end = key.rfind(".", 0, end)
        return self.name(self.layers[key[:end]] + key[end:] if end > 0 else key)

    def unknown(self) -> Surroundings:
        """The same without values, to examine steps of which it is unknown whether and with what they are used."""
        values = ChainMap({}, {name: value.after_mistake() for name, value in self.values.items()})
        numbers = dict.fromkeys(self.environment.numbers, UNKNOWN)
        environment = replace(self.environment, numbers=numbers, values=values)
        layers = ChainMap({}, self.layers)
        return replace(self, environment=environment, values=values, layers=layers, examining=True)

    def group(self, name: str) -> Surroundings:
        """What the steps below a step are lowered in, with names of their own."""
        values = ChainMap({}, self.values)
        environment, layers = replace(self.environment, values=values), ChainMap({}, self.layers)
        return replace(self, environment=environment, values=values, layers=layers, prefix=f"{self.named(name)}.")

    def iteration(self, name: str, index: int | Unknown, count: int | Unknown, previous: Value) -> Surroundings:
        """What one iteration of a repeated step is lowered in, with names of its own; they begin with ``prefix``."""
        own: dict[str, Number] = {"index": index, "number": UNKNOWN if index is UNKNOWN else index + 1, "count": count}
        own |= {f"{name}.{counter}": value for counter, value in own.items()}
        values = ChainMap({PREVIOUS: previous}, self.values)
        environment = replace(self.environment, numbers=self.environment.numbers | own, values=values)
        # No step has a name with a question mark, which an unknown counter could make by chance.
        texts = {counter: "?" if value is UNKNOWN else str(value) for counter, value in own.items()}
        counters = {**self.counters, **texts}
        here, counted = self.named(name), _expanded(name, counters)
        # A name that counts itself, such as "conv{number}", needs no index.
        prefix = f"{counted}." if "{" in name and counted != here else f"{here}.{texts['index']}."
        layers = ChainMap({}, self.layers)
        return replace(self, environment=environment, values=values, layers=layers, prefix=prefix, counters=counters)


def _expanded(text: str, counters: Mapping[str, str]) -> str:
    return _COUNTER.sub(lambda found: counters.get(found[1], found[0]), text) if "{" in text else text


class ChainLowering:
    """Lowers the chains of one network into a graph's nodes and scopes."""

    def __init__(self, network: Network, diagnostics: Diagnostics) -> None:
        self.network = network
        self.diagnostics = diagnostics
        self.problem = diagnostics.problem
        self.resolver = Resolver(network, diagnostics)
        self.builder = GraphBuilder(diagnostics)
        self.scopes: list[Scope] = []
        self.used_blocks: set[str] = set()
        self.size = self.depth = 0

    # -- blocks --------------------------------------------------------------------------------------------------

    def block(
        self, bound: Bound, inputs: Sequence[Value], name: Namer, path: KeyPath, *, examining: bool = False
    ) -> Value:
        """Lower one block; its layers' names come from ``name``, and ``path`` is where it is used.

        With ``examining`` only its arguments are checked.
        """
        kind, block = bound.kind, self.network.blocks[bound.kind]
        self.grow(path)
        if self.diagnostics.depth > MAX_BLOCK_DEPTH:
            self.problem(f"block {kind!r} contains itself", path)
            raise LoweringStoppedError
        if len(inputs) != len(block.inputs):
            needed = f"{len(block.inputs)} inputs ({', '.join(block.inputs)})" if len(block.inputs) > 1 else "one input"
            hint = "; a stage passes one" if path[:1] == ("stages",) else "; 'from' names them"
            hint = hint if len(block.inputs) > 1 else ""
            self.problem(f"block {kind!r} takes {needed}, not {len(inputs)}{hint}", path)
            inputs = [inputs[0], *(inputs[0].after_mistake() for _ in block.inputs[1:])]
        values = dict(zip(block.inputs, inputs, strict=True))
        with self.diagnostics.inside_block(path):
            environment = self.resolver.bind(bound, values, ("blocks", kind))
            if examining:
                return inputs[0]._replace(shape=None, parts=UNKNOWN_PARTS)
            self.used_blocks.add(kind)
            result, residual = self.sections(kind, Surroundings(environment, name, values))
        # Flat names ("conv2_block1_add") have a prefix too, but no dot to nest by.
        scope = name("").rstrip("._-")
        if scope and result.shape is not None and result.node not in {value.node for value in inputs}:
            self.scopes.append(Scope(name=scope, kind="block", output=result.node, block=kind, residual=residual))
        return result

    def sections(self, kind: str, around: Surroundings) -> tuple[Value, bool]:
        """Lower a block's chains and its addition: its value, and whether it adds."""
        block, where = self.network.blocks[kind], ("blocks", kind)
        sections: dict[str, list[str]] = {}
        with self.builder.declaring(sections, "main"):
            result = self.chain(block.main, around.values[INPUT], around, (*where, "main"))
        shortcut = None
        if block.shortcut is not None:
            with self.builder.declaring(sections, "shortcut"):
                shortcut = self.shortcut(block.shortcut, around, (*where, "shortcut"))
        with self.builder.declaring(sections, "after"):
            if shortcut is not None:
                added = [result, shortcut]
                result = self.builder.apply(_ADDITION, added, around.name(block.join), (*where, "shortcut"))
            result = self.chain(block.after, result, around, (*where, "after"))
        for section in block.declare:
            self.builder.declared += sections.get(section, [])
        outputs = self.block_outputs(block.outputs, around, (*where, "outputs"))
        return result._replace(parts=outputs), shortcut is not None

    def block_outputs(self, outputs: Iterable[str], around: Surroundings, path: KeyPath) -> dict[str, Value] | None:
        """The values that a block has beside its own, by the names of their steps."""
        found: dict[str, Value] = {}
        for index, name in enumerate(outputs):
            found[name] = self.refer(name, around, (*path, index))
        return found or None

    def shortcut(self, shortcut: Shortcut, around: Surroundings, path: KeyPath) -> Value | None:
        """The second input of the addition, None if there is none."""
        projected = self.resolver.condition(shortcut.when, around.environment, (*path, "when"))
        otherwise: Otherwise | Shortcut | None = shortcut if projected else shortcut.otherwise
        if projected is UNKNOWN:
            for branch in (shortcut, shortcut.otherwise):
                if not isinstance(branch, str | None) and self.is_own(path):
                    below = path if branch is shortcut else (*path, "otherwise")
                    self.branch(branch, around.unknown(), below)
            return around.values[INPUT].after_mistake()
        if isinstance(otherwise, str):
            return None
        if otherwise is None:
            return around.values[INPUT]
        return self.branch(otherwise, around, path if projected else (*path, "otherwise"))

    def branch(self, branch: Shortcut | Identity, around: Surroundings, path: KeyPath) -> Value:
        """Lower one of the two cases of a shortcut."""
        start = self.refer(branch.from_, around, (*path, "from"))
        return self.chain(branch.layers, start, around, (*path, "layers"))

    def examine_block(self, kind: str) -> None:
        """Report the mistakes of a block that nothing uses."""
        block, where = self.network.blocks[kind], ("blocks", kind)
        values = {name: Value(name, None, UNKNOWN_PARTS) for name in block.inputs}
        required = {name: given for name, given in block.parameters.items() if given in TYPES}
        arguments = {name: UNKNOWN_LAYER if given == "layer" else UNKNOWN for name, given in required.items()}
        environment = self.resolver.bind(Bound(kind, arguments, {}), values, where)
        # A gate that is absent by default may be given.
        slots = {name: UNKNOWN_LAYER if slot.kind == ABSENT else slot for name, slot in environment.slots.items()}
        around = Surroundings(replace(environment, slots=slots), lambda name: name, values)
        self.sections(kind, around.unknown())

    def is_own(self, path: KeyPath) -> bool:
        """Whether the author of the network wrote what is at a path."""
        return not self.diagnostics.is_shipped(path)

    # -- chains and steps ----------------------------------------------------------------------------------------

    def chain(self, steps: Chain, value: Value, around: Surroundings, path: KeyPath) -> Value:
        """Lower the steps of a chain, the first of which takes ``value``."""
        self.depth += 1
        if self.depth > MAX_CHAIN_DEPTH:
            self.problem(f"more than {MAX_CHAIN_DEPTH} chains are nested in each other", path)
            raise LoweringStoppedError
        for written, step in steps.items():
            name, where = around.key(written, step), (*path, written)
            if "{" in name and step.repeat is None:
                self.problem(f"{written!r}: only a repeated step has the counter {_COUNTER.findall(name)[0]!r}", where)
                value = around.values[name] = value.after_mistake()
                continue
            if name in around.values or name == INPUT:
                self.problem(f"{name!r} is already the name of another layer here", where)
            value = around.values[name] = self.step(written, step, value, around, where)
            around.layers[name] = around.named(written)
        self.depth -= 1
        return value

    def step(self, name: str, step: Step, value: Value, around: Surroundings, path: KeyPath) -> Value:
        """Lower one step; ``value`` is that of the step before."""
        self.grow(path)
        present = self.resolver.condition(step.when, around.environment, (*path, "when"))
        inputs = self.inputs(step, around, (*path, "from"))
        if step.from_ and not inputs and present:
            lists = " and ".join(map(repr, step.from_))
            self.problem(f"'from' names no values: {lists} are of steps that are absent or repeated 0 times", path)
            inputs = [value.after_mistake()]
        inputs = inputs or [value]
        if present is UNKNOWN:
            if self.is_own(path):
                self.present(name, step, [value.after_mistake() for value in inputs], around.unknown(), path)
            return inputs[0].after_mistake()
        if present:
            return self.present(name, step, inputs, around, path)
        return inputs[0] if step.repeat is None else inputs[0]._replace(parts={})

    def present(self, name: str, step: Step, inputs: list[Value], around: Surroundings, path: KeyPath) -> Value:
        """Lower a step whose 'when' holds."""
        if step.repeat is None and step.steps is None:
            return self.layer(step, inputs, around.named(name), around, path)
        if len(inputs) > 1:
            self.problem(f"a step with {_groups(step)!r} takes one value, not {len(inputs)}", (*path, "from"))
        if step.repeat is not None:
            return self.repeated(name, step, inputs[0], around, path)
        return self.chain(step.steps or {}, inputs[0], around.group(name), (*path, "steps"))

    def repeated(self, name: str, step: Step, value: Value, around: Surroundings, path: KeyPath) -> Value:
        """Lower a step with ``repeat``: its value is the last result, its parts are all results."""
        count = self.count(step, around, path)
        if count is UNKNOWN or around.examining:
            # Once, for the mistakes that do not depend on the number.
            inner = around.iteration(name, UNKNOWN, UNKNOWN, value.after_mistake())
            return self.once(name, step, value.after_mistake(), inner, path)._replace(parts=UNKNOWN_PARTS)
        results: dict[str, Value] = {}
        sections: dict[str, list[str]] = {}
        with self.builder.declaring(sections, "all"):
            self.grow(path, count)
            for index in range(count):
                inner = around.iteration(name, index, count, value)
                value = self.once(name, step, value, inner, path)
                results[str(index)] = value
                if "{" in name and step.steps is None:
                    key = inner.expanded(name)
                    around.values.setdefault(key, value)
                    around.layers[key] = key
        self.builder.declared += as_modules(sections["all"])
        return value._replace(parts=results)

    def once(self, name: str, step: Step, value: Value, around: Surroundings, path: KeyPath) -> Value:
        """Lower one iteration of a repeated step."""
        if step.steps is None:
            return self.layer(step, [value], around.prefix.removesuffix("."), around, path)
        return self.chain(step.steps, value, around, (*path, "steps"))

    def count(self, step: Step, around: Surroundings, path: KeyPath) -> int | Unknown:
        """How often a step is repeated."""
        count = self.resolver.number(step.repeat, around.environment, (*path, "repeat"))
        if count is UNKNOWN:
            return UNKNOWN
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_LAYERS:
            self.problem(f"must be a whole number from 0 to {MAX_LAYERS:,}, not {shown(count)}", (*path, "repeat"))
            return UNKNOWN
        return count

    def layer(self, step: Step, inputs: list[Value], name: str, around: Surroundings, path: KeyPath) -> Value:
        """Lower a layer, a block or a call, whose name within the block is ``name``."""
        if step.call is not None:
            return self.call(around.expanded(step.call), inputs, around.name(name), around, path)
        if step.spec is not None and around.examining:
            return inputs[0]._replace(shape=None, parts=UNKNOWN_PARTS)
        if step.spec is not None:
            return self.part(step.spec, step.outputs, inputs, around.name(f"{name}."), path)
        bound = self.resolver.resolve(step.layer, around.environment, path)
        if bound is UNKNOWN_LAYER:
            return inputs[0].after_mistake()
        if bound.kind == ABSENT:
            return inputs[0]
        if bound.kind not in WORDS:
            full: Namer = lambda inner: around.name(f"{name}.{inner}")  # noqa: E731
            return self.block(bound, inputs, full, path, examining=around.examining)
        if len(inputs) == 1 and WORDS[bound.kind].joins and any(map(_is_list, step.from_)):
            # A sum or a concatenation of one value is that value.
            return inputs[0]
        if around.examining:
            return self.builder.check(bound, inputs, path)
        return self.builder.apply(bound, inputs, around.name(name), path)

    def part(self, network: Network, outputs: Outputs, inputs: list[Value], prefix: str, path: KeyPath) -> Value:
        """Lower a network that is a part of this one; the names of its layers begin with ``prefix``."""
        raise NotImplementedError

    def call(self, target: str, inputs: list[Value], name: str, around: Surroundings, path: KeyPath) -> Value:
        """Use the layer of an earlier step again."""
        value = find(around.values, target)
        if value is None:
            self.unknown(target, around, (*path, "call"))
        elif value.shape is not None:
            return self.builder.call(target, around.layer(target), inputs, name, path)
        return inputs[0].after_mistake()

    def inputs(self, step: Step, around: Surroundings, path: KeyPath) -> list[Value]:
        """The values that 'from' names; ``name.*`` are all parts of one."""
        values: list[Value] = []
        for reference in step.from_:
            if _is_list(reference):
                values += self.parts(reference, around, path)
            else:
                values.append(self.refer(reference, around, path))
        return values

    def parts(self, reference: str, around: Surroundings, path: KeyPath) -> list[Value]:
        """All results of a repeated step, or all outputs of a block."""
        name = reference.removesuffix(".*")
        value = self.refer(name, around, path)
        if value.parts is None and value.shape is not None:
            self.problem(f"{reference!r} names no values: {name!r} is neither repeated nor has outputs", path)
        if value.parts is None or value.parts is UNKNOWN_PARTS:
            return [value.after_mistake()]
        return list(value.parts.values())

    def refer(self, name: str, around: Surroundings, path: KeyPath) -> Value:
        """The value of an earlier step."""
        value = find(around.values, around.expanded(name)) or find(around.values, name)
        return self.unknown(name, around, path) if value is None else value

    def unknown(self, name: str, around: Surroundings, path: KeyPath) -> Value:
        """Report a name that is no earlier step's."""
        hint = suggest(name, names(around.values))
        step = next((step for step in around.values if name.startswith(f"{step}.")), None)
        if step and not hint:
            hint = f"; what is inside {step!r} can be read here only if its block lists it in 'outputs'"
        self.problem(f"no earlier layer here is named {name!r}{hint}", path)
        return Value(INPUT, None)

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def grow(self, path: KeyPath, steps: int = 1) -> None:
        """Count steps or blocks, present or not: a network too large to be intended is not walked to its end."""
        self.size += steps
        if self.size > MAX_LAYERS:
            self.problem(f"the network has more than {MAX_LAYERS:,} layers", path)
            raise LoweringStoppedError


def as_modules(layers: Sequence[str]) -> list[str]:
    """Layers in the order in which a state_dict lists them: those that share the parts before a dot together.

    >>> as_modules(["convs.0", "bns.0", "convs.1", "bns.1"])
    ['convs.0', 'convs.1', 'bns.0', 'bns.1']
    """
    first: dict[str, int] = {}

    def places(layer: str) -> list[int]:
        parts = layer.split(".")
        return [first.setdefault(".".join(parts[: end + 1]), len(first)) for end in range(len(parts))]

    return [layer for _, layer in sorted((places(layer), layer) for layer in layers)]


def _is_list(reference: str) -> bool:
    return reference.endswith(".*")


def _groups(step: Step) -> str:
    return "repeat" if step.steps is None else "steps"
