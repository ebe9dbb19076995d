"""What words mean where they stand: slots and defined layers are followed, expressions are evaluated.

The half of lowering that knows no shapes but those a block's expressions may ask for, and makes no nodes.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from resnet_spec.errors import shown, suggest
from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.expressions import ExpressionError, Number, evaluate, variables
from resnet_spec.spec.models import ABSENT, TYPES, Block, Layer

if TYPE_CHECKING:
    from resnet_spec.document.parser import KeyPath
    from resnet_spec.operations.fields import Shape
    from resnet_spec.spec.diagnostics import Reports
    from resnet_spec.spec.spec import Spec


class _Unknown(int):
    """A number that an earlier mistake leaves unknown; divisible, so that it causes no mistakes of its own."""


UNKNOWN = _Unknown(4096)


def is_unknown(value: Any) -> bool:
    """Whether a value, or one in a list, hangs on an earlier mistake."""
    if isinstance(value, list):
        return any(map(is_unknown, typing.cast("list[Any]", value)))
    return isinstance(value, _Unknown)


class Written(NamedTuple):
    """Where an argument is written, and how."""

    path: KeyPath
    value: Any


class Bound(NamedTuple):
    """A layer with nothing left to look up: an operation or a block, its arguments' values, and where they stand."""

    kind: str
    arguments: Mapping[str, Any]
    written: Mapping[str, Written]


NOTHING = Bound(ABSENT, {}, {})


@dataclass(frozen=True)
class Environment:
    """What names mean where a step stands: numbers for expressions, layers for slots, and where they were given."""

    numbers: dict[str, Number]
    slots: dict[str, Bound] = field(default_factory=dict[str, Bound])
    written: Mapping[str, Written] = field(default_factory=dict[str, Written])


class Arguments:
    """Gives the layers and numbers of one spec their meaning; mistakes go to its reports."""

    def __init__(self, spec: Spec, reports: Reports) -> None:
        self._spec = spec
        self._reports = reports
        self.root = Environment(_sizes(spec.input.shape))
        for name, text in spec.parameters.items():
            value = self.number(text, self.root, ("parameters", name))
            self.root.numbers[name] = 1 if value is None else value

    def bind(self, bound: Bound, shape: Shape | None, path: KeyPath) -> Environment:
        """A block's parameters, given or by default, and the shape of its input, None after a mistake."""
        block = self._spec.blocks[bound.kind]
        environment = Environment(_sizes((UNKNOWN,) * 3 if shape is None else shape), written=bound.written)
        for name, declared in block.parameters.items():
            where = (*path, "parameters", name)
            if name in bound.arguments:
                result = bound.arguments[name]
            elif isinstance(declared, str) and declared in TYPES:
                self._reports.problem(f"block {bound.kind!r} needs a value for {name!r}", self._reports.use)
                result = NOTHING if declared == "layer" else UNKNOWN
            elif parameter_type(block, name) == "layer":
                result = self.slot(declared, environment, where)
            else:
                result = self.number(declared, environment, where)
            if isinstance(result, Bound):
                environment.slots[name] = result
                # A slot in an expression says whether it is filled.
                environment.numbers[name] = result.kind != ABSENT
            else:
                environment.numbers[name] = UNKNOWN if result is None else result
        return environment

    def resolve(
        self, layer: Layer, environment: Environment, path: KeyPath, seen: tuple[str, ...] = ()
    ) -> Bound | None:
        """Follow a reference through slots and defined layers to an operation or a block."""
        kind = layer.kind
        if kind == ABSENT:
            return NOTHING
        if kind in environment.slots:
            base = environment.slots[kind]
        elif kind in self._spec.layers and kind not in seen:
            # Defined layers mean the same wherever they are used: their arguments see the spec's parameters alone.
            found = self.resolve(self._spec.layers[kind], self.root, ("layers", kind), (*seen, kind))
            if found is None:
                return None
            base = found
        elif kind in OPERATIONS or kind in self._spec.blocks:
            base = Bound(kind, {}, {})
        elif kind in seen:
            self._reports.problem(f"layer {kind!r} is defined by itself", path)
            return None
        else:
            known = [*environment.slots, *self._spec.layers, *OPERATIONS, *self._spec.block_names(), ABSENT]
            self._reports.problem(f"unknown operation, block or layer {kind!r}{suggest(kind, known)}", path)
            return None
        if not layer.arguments or base.kind == ABSENT:
            return base
        arguments, written = dict(base.arguments), dict(base.written)
        for name, value in layer.arguments.items():
            where = (*path, kind, name)
            if self.known_argument(base.kind, name, where):
                arguments[name] = self.argument(base.kind, name, value, environment, where)
                given = environment.written.get(value) if isinstance(value, str) else None
                written[name] = given or Written(where, value)
        return Bound(base.kind, arguments, written)

    def known_argument(self, kind: str, name: str, path: KeyPath, also: frozenset[str] = frozenset()) -> bool:
        """Whether an operation or a block takes an argument of this name; a problem where not."""
        if kind in OPERATIONS:
            known = {*OPERATIONS[kind].model_fields, *OPERATIONS[kind].aliases} - {"op"}
        else:
            known = set(self._spec.blocks[kind].parameters)
        if name in known:
            return True
        what = "operation" if kind in OPERATIONS else "block"
        self._reports.problem(f"unknown key {name!r} of {what} {kind!r}{suggest(name, known | also)}", path, key=True)
        return False

    def argument(self, kind: str, name: str, value: Any, environment: Environment, path: KeyPath) -> Any:
        """The value of one argument of an operation or a block, with its expressions evaluated where they stand."""
        if kind in OPERATIONS:
            return self.operation_argument(kind, name, value, environment, path)
        wanted = parameter_type(self._spec.blocks[kind], name)
        if wanted == "layer":
            return self.slot(value, environment, path)
        number = self.number(value, environment, path)
        if number is None:
            return UNKNOWN
        fits = {
            "bool": isinstance(number, bool),
            "int": isinstance(number, int) and not isinstance(number, bool),
            "number": not isinstance(number, bool),
        }[wanted]
        if not fits:
            self._reports.problem(f"must be {_ARTICLE[wanted]}, not {shown(number)}", path)
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
                self._reports.problem(f"must be {wanted}, not {value!r}{suggest(value, known)}", path)
                return next(iter(words))
            number = self.number(value, environment, path)
            return UNKNOWN if number is None else number
        if isinstance(value, list):
            items = typing.cast("list[Any]", value)
            return [self.operation_argument(kind, name, item, environment, (*path, i)) for i, item in enumerate(items)]
        return value

    def slot(self, value: Any, environment: Environment, path: KeyPath) -> Bound:
        """The layer that a slot is filled with."""
        try:
            layer = Layer.model_validate(value)
        except ValidationError as error:
            for item in error.errors():
                self._reports.problem(str(item.get("ctx", {}).get("error", item["msg"])), path)
            return NOTHING
        return self.resolve(layer, environment, path) or NOTHING

    def number(self, value: Any, environment: Environment, path: KeyPath) -> Number | None:
        """The value of a number or an expression, None after a mistake."""
        if isinstance(value, int | float):
            return value
        if not isinstance(value, str):
            self._reports.problem(f"must be a number or an expression, not {shown(value)}", path)
            return None
        try:
            return evaluate(value, environment.numbers)
        except ExpressionError as error:
            self._reports.problem(str(error), path)
            return None

    def condition(self, value: bool | str, environment: Environment, path: KeyPath) -> bool:
        """Whether what ``when`` guards is there."""
        return bool(self.number(value, environment, path)) if value is not True else True


def _sizes(shape: Shape) -> dict[str, Number]:
    """What expressions call the sizes of an input: a map's, a row of channels', or a vector's."""
    names = {3: ("in_channels", "in_height", "in_width"), 2: ("in_channels", "in_length"), 1: ("in_features",)}
    return dict(zip(names[len(shape)], shape, strict=True))


_ARTICLE = {"bool": "true or false", "int": "a whole number", "number": "a number"}


def parameter_type(block: Block, name: str) -> str:
    """What a block's parameter is: one of ``TYPES``, from its declared type or from its default."""
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
    # A word is a layer, unless it is one of the numbers known before it; arithmetic is a number.
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
    """The words that an operation's field may hold, such as ``same``."""
    info = OPERATIONS[kind].model_fields.get(name)

    def literals(annotation: Any) -> Iterator[str]:
        if typing.get_origin(annotation) is typing.Literal:
            yield from (word for word in typing.get_args(annotation) if isinstance(word, str))
        else:
            for inner in typing.get_args(annotation):
                yield from literals(inner)

    return tuple(literals(info.annotation)) if info is not None else ()


def _takes_numbers(kind: str, name: str) -> bool:
    """Whether a field that may hold a word may hold a number, too."""
    return typing.get_origin(OPERATIONS[kind].model_fields[name].annotation) is not typing.Literal
