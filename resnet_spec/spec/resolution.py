"""Resolves names in the context of a step: follows slots and defined layers, and evaluates expressions.

This part of lowering makes no nodes and knows no shapes but those that a block's expressions may ask for.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import ValidationError

from resnet_spec.document.parser import KeyPath
from resnet_spec.errors import listed, shown, suggest, suggest_spelling
from resnet_spec.errors.validation import invalid_values
from resnet_spec.graph import INPUT, SIZE_NAMES
from resnet_spec.operations import WORDS
from resnet_spec.operations.fields import Shape
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.diagnostics import Diagnostics
from resnet_spec.spec.expressions import UNKNOWN, ExpressionError, Value, evaluate, limited, variables
from resnet_spec.spec.models import ABSENT, TYPES, Block, Layer, Network
from resnet_spec.spec.values import StepSizes
from resnet_spec.spec.values import Value as StepValue


def is_unknown(value: Any) -> bool:
    """Whether a value, or one in a list, depends on an earlier mistake."""
    if isinstance(value, list):
        return any(map(is_unknown, typing.cast("list[Any]", value)))
    return value is UNKNOWN


def misspelled(name: str, unknown: Iterable[str]) -> bool:
    """Whether a missing argument may be one of those given under an unknown name."""
    return any(suggest(word, [name]) for word in unknown)


def _hint(kind: str, own: list[str]) -> str:
    """What an unknown layer may be: a misspelled one, or else the operations of the kind that its name resembles."""
    if hint := suggest_spelling(kind, [*own, *WORDS]):
        return hint
    if (other := OTHER_WORDS.get(kind.lower())) is not None:
        return f"; did you mean {other!r}?"
    words = [word for word in ("conv", "norm", "pool") if word in kind.lower()]
    like = difflib.get_close_matches(kind, WORDS, n=1, cutoff=0.7)
    like += [name for word in words for name in WORDS if word in name]
    if not like:
        longer = [name for name in own if name.startswith(f"{kind.lower()}_")]
        return f"; did you mean {longer[0]!r}?" if len(longer) == 1 else suggest(kind, own)
    category = WORDS[like[0]].category
    names = [name for name, operation in WORDS.items() if operation.category is category]
    return f"; the operations of the kind {category} are {', '.join(names)}"


OTHER_WORDS = {
    "identity": ABSENT, "split": "slice", "chunk": "slice", "cat": "concat", "upsample": "resize",
    "interpolate": "resize", "dense": "linear", "swish": "silu", "mul": "multiply", "permute": "transpose",
}  # fmt: skip
"""What frameworks call operations, where the name is not similar."""


class Written(NamedTuple):
    """Where an argument is written, and how."""

    path: KeyPath
    value: Any


class Bound(NamedTuple):
    """A resolved layer: an operation or a block, the values of its arguments, and where each is written."""

    kind: str
    arguments: Mapping[str, Any]
    written: Mapping[str, Written]


NO_LAYER = Bound(ABSENT, {}, {})
UNKNOWN_LAYER = Bound("unknown", {}, {})
"""The result of a reference that contains a mistake."""


@dataclass(frozen=True)
class Environment:
    """The names that a step can use: numbers for expressions, layers for slots, and where each was given.

    ``values`` are those of earlier steps, for whose sizes an expression may ask.
    """

    numbers: dict[str, Value]
    values: Mapping[str, StepValue]
    slots: dict[str, Bound] = field(default_factory=dict[str, Bound])
    written: Mapping[str, Written] = field(default_factory=dict[str, Written])

    def value(self, text: str) -> Value:
        """The value of an expression; raises ExpressionError."""
        return evaluate(text, self.numbers, StepSizes(self.values))


class Resolver:
    """Resolves the references and the expressions of one spec; mistakes go to its diagnostics."""

    def __init__(self, network: Network, diagnostics: Diagnostics) -> None:
        self._network = network
        self._diagnostics = diagnostics
        self.used_layers: set[str] = set()
        self.expected: Callable[[str], bool] = lambda kind: False
        shape = network.input.shape
        self.root = Environment(_input_sizes(shape), {INPUT: StepValue(INPUT, shape)})
        for name, text in network.parameters.items():
            self.root.numbers[name] = self.number(text, self.root, ("parameters", name))

    def block_names(self) -> set[str]:
        """Blocks that could be named: the spec's own and the shipped ones."""
        return {*self._network.blocks, *Catalog.shipped().blocks()}

    def bind(self, bound: Bound, values: Mapping[str, StepValue], path: KeyPath) -> Environment:
        """A block's parameters, given or by default, over the values of its inputs."""
        block = self._network.blocks[bound.kind]
        environment = Environment(_input_sizes(values[INPUT].shape), values, written=bound.written)
        for name, declared in block.parameters.items():
            where = (*path, "parameters", name)
            if name in bound.arguments:
                result = bound.arguments[name]
            elif isinstance(declared, str) and declared in TYPES:
                if not misspelled(name, bound.arguments.keys() - block.parameters.keys()):
                    message = f"block {bound.kind!r} needs a value for {name!r}"
                    self._diagnostics.problem(message, self._diagnostics.used_at)
                result = UNKNOWN_LAYER if declared == "layer" else UNKNOWN
            elif parameter_type(block, name) == "layer":
                result = self.slot(declared, environment, where)
            else:
                result = self.number(declared, environment, where)
            if isinstance(result, Bound):
                environment.slots[name] = result
                # In an expression, a slot's name says whether it is filled.
                environment.numbers[name] = UNKNOWN if result is UNKNOWN_LAYER else result.kind != ABSENT
            else:
                environment.numbers[name] = result
        return environment

    def resolve(self, layer: Layer, environment: Environment, path: KeyPath, seen: tuple[str, ...] = ()) -> Bound:
        """Follow a reference through slots and defined layers to an operation or a block, else UNKNOWN_LAYER."""
        kind = layer.kind
        if kind == ABSENT:
            return NO_LAYER
        if kind in environment.slots:
            base = environment.slots[kind]
        elif kind in self._network.layers and kind not in seen:
            self.used_layers.add(kind)
            # Defined layers mean the same wherever they are used: their arguments see only the spec's parameters.
            base = self.resolve(self._network.layers[kind], self.root, ("layers", kind), (*seen, kind))
        elif kind in WORDS or kind in self._network.blocks:
            base = Bound(kind, {}, {})
        elif self.expected(kind):
            return UNKNOWN_LAYER
        elif kind in seen:
            self._diagnostics.problem(f"layer {kind!r} is defined by itself", path)
            return UNKNOWN_LAYER
        else:
            own = [*environment.slots, *self._network.layers, *self.block_names(), ABSENT]
            self._diagnostics.problem(f"unknown operation, block or layer {kind!r}{_hint(kind, own)}", path)
            return UNKNOWN_LAYER
        if not layer.arguments or base.kind == ABSENT or base is UNKNOWN_LAYER:
            return base
        arguments, written = dict(base.arguments), dict(base.written)
        for name, value in layer.arguments.items():
            where = (*path, kind, name)
            if value is None and name.count(")") > name.count("("):
                # The rest of an expression that a comma has cut off, for which the problem is reported.
                continue
            if not self.known_argument(base.kind, name, where):
                # It may be a misspelled known one, which is then not reported as missing.
                arguments[name] = UNKNOWN
                continue
            arguments[name] = self.argument(base.kind, name, value, environment, where)
            given = environment.written.get(value) if isinstance(value, str) else None
            written[name] = given or Written(where, value)
        return Bound(base.kind, arguments, written)

    def known_argument(self, kind: str, name: str, path: KeyPath, also: frozenset[str] = frozenset()) -> bool:
        """Whether an operation or a block takes an argument of this name; reports a problem if not."""
        if kind in WORDS:
            known = [name for name in (*WORDS[kind].model_fields, *WORDS[kind].aliases) if name != "op"]
        else:
            known = [*self._network.blocks[kind].parameters]
        if name in known:
            return True
        what = "operation" if kind in WORDS else "block"
        hint = suggest(name, [*known, *also]) or f"; it takes {listed(known) or 'no keys'}"
        self._diagnostics.problem(f"unknown key {name!r} of {what} {kind!r}{hint}", path, key=True)
        return False

    def argument(self, kind: str, name: str, value: Any, environment: Environment, path: KeyPath) -> Any:
        """The value of one argument of an operation or a block; its expressions see ``environment``."""
        if kind in WORDS:
            return self.operation_argument(kind, name, value, environment, path)
        wanted = parameter_type(self._network.blocks[kind], name)
        if wanted == "layer":
            return self.slot(value, environment, path)
        number = self.number(value, environment, path)
        if number is UNKNOWN:
            return UNKNOWN
        fits = {
            "bool": isinstance(number, bool),
            "int": isinstance(number, int) and not isinstance(number, bool),
            "number": not isinstance(number, bool),
        }[wanted]
        if not fits:
            self._diagnostics.problem(f"must be {_ARTICLE[wanted]}, not {shown(number)}", path)
            return UNKNOWN
        return number

    def operation_argument(self, kind: str, name: str, value: Any, environment: Environment, path: KeyPath) -> Any:
        """An operation's argument: a word that its field knows, a number, or a list of them."""
        if isinstance(value, str):
            words = _words(kind, name)
            if value in words:
                return value
            if words and value.isidentifier() and value not in environment.numbers:
                known = [*words, *environment.numbers]
                wanted = " or ".join(words) + (", or a number" if _takes_numbers(kind, name) else "")
                self._diagnostics.problem(f"must be {wanted}, not {value!r}{suggest(value, known)}", path)
                return UNKNOWN
            return self.number(value, environment, path)
        if isinstance(value, list):
            items = typing.cast("list[Any]", value)
            return [self.operation_argument(kind, name, item, environment, (*path, i)) for i, item in enumerate(items)]
        return value

    def slot(self, value: Any, environment: Environment, path: KeyPath) -> Bound:
        """The layer that a slot is filled with."""
        try:
            layer = Layer.model_validate(value)
        except ValidationError as error:
            for invalid in invalid_values(error, value, Layer):
                self._diagnostics.problem(invalid.message, (*path, *invalid.path))
            return UNKNOWN_LAYER
        return self.resolve(layer, environment, path)

    def number(self, value: Any, environment: Environment, path: KeyPath) -> Value:
        """The value of a number or an expression, UNKNOWN after a mistake."""
        try:
            if isinstance(value, int | float):
                return limited(value)
            if isinstance(value, str):
                return environment.value(value)
            self._diagnostics.problem(f"must be a number or an expression, not {shown(value)}", path)
        except ExpressionError as error:
            outside = self._outside(value, environment) if isinstance(value, str) else ""
            self._diagnostics.problem(outside or str(error), path)
        return UNKNOWN

    def _outside(self, text: str, environment: Environment) -> str:
        """The mistake of a block that names a parameter of the spec around it; empty if it does not."""
        try:
            outside = variables(text) & self.root.numbers.keys() - environment.numbers.keys()
        except ExpressionError:
            return ""
        if not outside:
            return ""
        name = min(outside)
        how = f"declare {name!r} under the block's parameters, and pass it where the block is used"
        return f"{name!r} is a parameter of the spec, which a block cannot use; {how}"

    def condition(self, value: bool | str, environment: Environment, path: KeyPath) -> Value:
        """Whether what ``when`` guards is present, UNKNOWN after a mistake."""
        return value if value is True else self.number(value, environment, path)


def _input_sizes(shape: Shape | None) -> dict[str, Value]:
    """What expressions call the sizes of an input; all names, UNKNOWN, after a mistake."""
    if shape is None:
        return dict.fromkeys({f"in_{name}" for names in SIZE_NAMES.values() for name in names}, UNKNOWN)
    return dict(zip((f"in_{name}" for name in SIZE_NAMES[len(shape)]), shape, strict=True))


_ARTICLE = {"bool": "true or false", "int": "a whole number", "number": "a number"}


def parameter_type(block: Block, name: str) -> str:
    """The type of a block's parameter, one of ``TYPES``: declared, or that of its default."""
    declared = block.parameters[name]
    if isinstance(declared, bool):
        return "bool"
    if isinstance(declared, int):
        return "int"
    if isinstance(declared, float):
        return "number"
    if not isinstance(declared, str):
        return "layer"
    if declared in TYPES:
        return declared
    # A word is a layer, unless it is a number declared before it; arithmetic is a number.
    if declared.isidentifier():
        names = list(block.parameters)
        known = declared in names[: names.index(name)] and parameter_type(block, declared) != "layer"
        return "number" if known or declared.startswith("in_") else "layer"
    try:
        variables(declared)
    except ExpressionError:
        return "layer"
    return "number"


@lru_cache(maxsize=256)
def _words(kind: str, name: str) -> tuple[str, ...]:
    """The words that an operation's field accepts, such as ``same``."""
    info = WORDS[kind].model_fields.get(name)

    def literals(annotation: Any) -> Iterator[str]:
        if typing.get_origin(annotation) is typing.Literal:
            yield from (word for word in typing.get_args(annotation) if isinstance(word, str))
        else:
            for inner in typing.get_args(annotation):
                yield from literals(inner)

    return tuple(literals(info.annotation)) if info is not None else ()


def _takes_numbers(kind: str, name: str) -> bool:
    """Whether a field that accepts a word accepts a number, too."""
    return typing.get_origin(WORDS[kind].model_fields[name].annotation) is not typing.Literal
