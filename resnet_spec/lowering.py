"""From a spec to a graph: slots are filled, arithmetic is evaluated, blocks are repeated, shapes follow.

One walk in order of execution. A mistake is recorded and the walk goes on with an unknown shape, so that every
mistake of a spec is told at once.
"""

from __future__ import annotations

import fnmatch
import typing
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pydantic import ValidationError

from resnet_spec.catalogue import Catalogue
from resnet_spec.documents import KeyPath
from resnet_spec.errors import Position, Problem, SpecError, plain, shown, suggest
from resnet_spec.expressions import ExpressionError, Number, evaluate, variables
from resnet_spec.graph import INPUT, MAX_PARAMETERS, Graph, Node, Scope, unused
from resnet_spec.language import ABSENT, STAGE_KEYS, TYPES, Block, Chain, Identity, Layer, Shortcut, Stage, Step
from resnet_spec.operations import OPERATIONS, AnyOperation, Category, Shape, ShapeError

if TYPE_CHECKING:
    from resnet_spec.spec import Spec

MAX_LAYERS = 100_000
MAX_PROBLEMS = 100

Namer: TypeAlias = Callable[[str], str]

_UNKNOWN = 4096
"""Stands for a size that an earlier mistake leaves unknown; divisible, so that it causes no mistakes of its own."""


class _Value(NamedTuple):
    """What a step computes: the node, and its shape, or None after a mistake."""

    node: str
    shape: Shape | None


class _Owner(NamedTuple):
    """The node that owns a layer, and the shapes its layer was made for."""

    node: Node
    inputs: tuple[Shape, ...]


class _Written(NamedTuple):
    """Where an argument is written, and how."""

    path: KeyPath
    value: Any


class _Bound(NamedTuple):
    """A layer with nothing left to look up: an operation or a block, its arguments' values, and where they stand."""

    kind: str
    arguments: Mapping[str, Any]
    written: Mapping[str, _Written]


_NOTHING = _Bound(ABSENT, {}, {})
_ADDITION = _Bound("add", {}, {})


@dataclass(frozen=True)
class _Environment:
    """What names mean where a step stands: numbers for expressions, layers for slots, and where they were given."""

    numbers: dict[str, Number]
    slots: dict[str, _Bound] = field(default_factory=dict[str, _Bound])
    written: Mapping[str, _Written] = field(default_factory=dict[str, _Written])


@dataclass(frozen=True)
class _Place:
    """A chain's surroundings: how its layers are named, the values steps may refer to, and where it is written."""

    environment: _Environment
    name: Namer
    values: dict[str, _Value]


def lower(spec: Spec) -> Graph:
    """The graph of a spec; raises SpecError with every problem found."""
    lowering = _Lowering(spec)
    graph = lowering.run()
    if graph is None:
        raise SpecError(lowering.problems)
    return graph


def name_problems(spec: Spec) -> list[Problem]:
    """The problems of a spec that do not hang on shapes; for a spec whose other mistakes were cut out."""
    lowering = _Lowering(spec)
    lowering.run()
    return [problem for problem in lowering.problems if problem not in lowering.shape_problems]


class _GivenUpError(Exception):
    """The network is too large, or too wrong, to go on."""


class _Lowering:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.nodes: list[Node] = []
        self.owners: dict[str, _Owner] = {}
        self.written: dict[str, KeyPath] = {}
        self.scopes: list[Scope] = []
        self.declared: list[str] = []
        self.problems: list[Problem] = []
        self.shape_problems: set[Problem] = set()
        self.use: KeyPath = ()
        self.operations: dict[Any, AnyOperation] = {}
        self.size = 0
        self.told: set[tuple[str, Position]] = set()

    # -- the network ---------------------------------------------------------------------------------------------

    def run(self) -> Graph | None:
        try:
            return self.network()
        except _GivenUpError:
            return None

    def network(self) -> Graph | None:
        spec = self.spec
        image = spec.input
        builtins = {"in_channels": image.channels, "in_height": image.height, "in_width": image.width}
        self.root = _Environment({**builtins})
        for name, text in spec.parameters.items():
            value = self.number(text, self.root, ("parameters", name))
            self.root.numbers[name] = 1 if value is None else value
        start = _Value(INPUT, image.shape)
        place = _Place(self.root, lambda name: name, {INPUT: start})
        value = self.chain(spec.stem, start, place, ("stem",))
        for name, stage in spec.stages.items():
            value = place.values[name] = self.stage(name, stage, value)
        value = self.chain(spec.head, value, place, ("head",))
        outputs = self.outputs(value)
        # What runs after the last tap is left out; what nothing uses even in the whole network is a mistake.
        everything = tuple(dict.fromkeys((*outputs, value.node)))
        if not self.problems:
            self.check_used(everything)
        if self.problems:
            return None
        executed = [node.name for node in self.nodes if node.calls is None]
        graph = Graph(
            name=spec.name,
            description=spec.description,
            input=image,
            nodes=tuple(self.nodes),
            outputs=everything,
            scopes=tuple(self.scopes),
            declaration=tuple(self.declared) if self.declared != executed else (),
            initialization=spec.initialization,
        ).with_outputs(outputs)
        self.check_claims(graph)
        return None if self.problems else graph

    def outputs(self, last: _Value) -> tuple[str, ...]:
        if not self.spec.outputs:
            if last.node == INPUT and not self.problems:
                self.problem("the network has no layers: each is 'none' or left out by 'when'", ("stem",))
            return (last.node,)
        known = {scope.name: scope.output for scope in self.scopes}
        known |= {node.name: node.name for node in self.nodes}
        if last.shape is None:
            # After a mistake not every layer is there.
            known |= {name: name for name in self.spec.outputs if name.partition(".")[0] in self.spec.stages}
        for index, name in enumerate(self.spec.outputs):
            if name not in known:
                self.problem(f"no layer, block or stage is named {name!r}{suggest(name, known)}", ("outputs", index))
        return tuple(known.get(name, name) for name in self.spec.outputs)

    def check_used(self, outputs: tuple[str, ...]) -> None:
        for name in unused(self.nodes, outputs):
            self.problem(f"nothing uses the value of {name!r}, and it is no output", self.written[name])

    def check_claims(self, graph: Graph) -> None:
        """What the spec says of itself: its depth and its number of parameters."""
        total = 0
        for parameter in graph.parameters():
            size = 1
            for extent in parameter.shape:
                size *= extent
            total += size if parameter.trainable else 0
        if total > MAX_PARAMETERS:
            self.problem(f"the network has {total:,} parameters, more than {MAX_PARAMETERS:,}", ())
        stated = self.spec.source.parameters
        if stated is not None and stated != total:
            path = ("source", "parameters")
            self.problem(f"states {stated:,} trainable parameters, but the network has {total:,}", path)
        names = [parameter.name for parameter in graph.parameters()]
        for pattern in self.spec.initialization.patterns():
            if not fnmatch.filter(names, pattern):
                path = ("initialization", pattern)
                self.problem(f"no parameter's name matches {pattern!r}", path, key=True)
        if self.spec.depth is not None and (depth := weighted_depth(graph)) != self.spec.depth:
            message = f"states {self.spec.depth} weighted layers on the main path, but the network has {depth}"
            self.problem(message, ("depth",))

    # -- stages and blocks ---------------------------------------------------------------------------------------

    def stage(self, key: str, stage: Stage, value: _Value) -> _Value:
        path: KeyPath = ("stages", key)
        for name, argument in [*stage.arguments.items(), *stage.first.items(), *stage.last.items()]:
            length = len(typing.cast("list[Any]", argument)) if isinstance(argument, list) else stage.repeat
            if length != stage.repeat:
                where = (*path, name) if name in stage.arguments else path
                message = f"must list one value for each block: {length} where 'repeat' is {stage.repeat}"
                self.problem(message, where)
                return _Value(value.node, None)
        for index in range(stage.repeat):
            value = self.stage_block(key, stage, index, value)
        if value.shape is not None:
            self.scopes.append(Scope(name=key, kind="stage", output=value.node))
        return value

    def stage_block(self, key: str, stage: Stage, index: int, value: _Value) -> _Value:
        path: KeyPath = ("stages", key)
        first, last = index == 0, index == stage.repeat - 1
        counts = {"index": index, "number": index + 1, "count": stage.repeat}
        environment = _Environment(self.root.numbers | counts)
        arguments: dict[str, tuple[Any, KeyPath]] = {
            name: (argument[index] if isinstance(argument, list) else argument, (*path, name))
            for name, argument in stage.arguments.items()
        }
        for wanted, section, extra in ((first, "first", stage.first), (last, "last", stage.last)):
            if wanted:
                arguments |= {name: (argument, (*path, section, name)) for name, argument in extra.items()}
        kind, kind_path = stage.block, (*path, "block")
        if "block" in arguments:
            kind, kind_path = arguments.pop("block")
        block = self.spec.blocks.get(kind) if isinstance(kind, str) else None
        if block is None:
            self.problem(f"unknown block {kind!r}{suggest(str(kind), self.spec.block_names())}", kind_path)
            return _Value(value.node, None)
        if "stride" not in arguments:
            here = last if stage.stride_in == "last" else first
            if "stride" in block.parameters:
                arguments["stride"] = (stage.stride if here else 1, (*path, "stride"))
            elif stage.stride != 1:
                self.problem(f"block {kind!r} has no parameter 'stride'", (*path, "stride"))
        bound: dict[str, Any] = {}
        for name, (argument, where) in arguments.items():
            keys = (STAGE_KEYS - {"first", "last"}) if len(where) > len(path) + 1 else STAGE_KEYS
            if self.known_argument(kind, name, where, also=keys):
                bound[name] = self.argument(kind, name, argument, environment, where)
        words = {
            "stage": key,
            "index": str(index),
            "number": str(index + 1),
            "remaining": str(stage.repeat - 1 - index),
        }

        def name_layer(layer: str) -> str:
            name = stage.names or self.spec.names
            for word, text in (words | {"layer": layer}).items():
                name = name.replace(f"{{{word}}}", text)
            return name

        written = {name: _Written(where, argument) for name, (argument, where) in arguments.items()}
        return self.block(_Bound(kind, bound, written), value, name_layer, path)

    def block(self, bound: _Bound, value: _Value, name: Namer, path: KeyPath) -> _Value:
        """Lower one block; its layers' names come from ``name``, and ``path`` is where it is used."""
        kind, block = bound.kind, self.spec.blocks[bound.kind]
        self.grow(path)
        if self.depth > 20:
            self.problem(f"block {kind!r} contains itself", path)
            raise _GivenUpError
        with self.using(path):
            where: KeyPath = ("blocks", kind)
            environment = self.bind(bound, block, value, where)
            place = _Place(environment, name, {INPUT: value})
            sections: dict[str, list[str]] = {}
            with self.declaring(sections, "main"):
                result = self.chain(block.main, value, place, (*where, "main"))
            if block.shortcut is not None:
                with self.declaring(sections, "shortcut"):
                    shortcut = self.shortcut(block.shortcut, place, (*where, "shortcut"))
                with self.declaring(sections, "after"):
                    result = self.emit(_ADDITION, [result, shortcut], name(block.join), (*where, "shortcut"))
                    result = self.chain(block.after, result, place, (*where, "after"))
            else:
                with self.declaring(sections, "after"):
                    result = self.chain(block.after, result, place, (*where, "after"))
            for section in block.declare:
                self.declared += sections.get(section, [])
        # Flat names ("conv2_block1_add") have a prefix too, but no dot to nest by.
        scope = name("").rstrip("._-")
        if scope and result.shape is not None and result.node != value.node:
            residual = block.shortcut is not None
            self.scopes.append(Scope(name=scope, kind="block", output=result.node, block=kind, residual=residual))
        return result

    def shortcut(self, shortcut: Shortcut, place: _Place, path: KeyPath) -> _Value:
        branch: Shortcut | Identity = shortcut
        if not self.condition(shortcut.when, place.environment, (*path, "when")):
            branch, path = shortcut.otherwise, (*path, "otherwise")
        start = self.refer(branch.from_, place, (*path, "from"))
        return self.chain(branch.layers, start, place, (*path, "layers"))

    def bind(self, bound: _Bound, block: Block, value: _Value, path: KeyPath) -> _Environment:
        """A block's parameters, given or by default, and the shape of its input."""
        shape = value.shape if value.shape is not None else (_UNKNOWN,) * 3
        keys = ("in_channels", "in_height", "in_width") if len(shape) == 3 else ("in_features",)
        environment = _Environment(dict(zip(keys, shape, strict=True)), written=bound.written)
        for name, declared in block.parameters.items():
            where = (*path, "parameters", name)
            if name in bound.arguments:
                result = bound.arguments[name]
            elif isinstance(declared, str) and declared in TYPES:
                self.problem(f"block {bound.kind!r} needs a value for {name!r}", self.use)
                result = _NOTHING if declared == "layer" else _UNKNOWN
            elif parameter_type(block, name) == "layer":
                result = self.slot(declared, environment, where)
            else:
                result = self.number(declared, environment, where)
            if isinstance(result, _Bound):
                environment.slots[name] = result
                # A slot in an expression says whether it is filled.
                environment.numbers[name] = result.kind != ABSENT
            else:
                environment.numbers[name] = _UNKNOWN if result is None else result
        return environment

    # -- chains and steps ----------------------------------------------------------------------------------------

    def chain(self, steps: Chain, value: _Value, place: _Place, path: KeyPath) -> _Value:
        for name, step in steps.items():
            if name in place.values or name == INPUT:
                self.problem(f"{name!r} is already the name of another layer here", (*path, name))
            value = place.values[name] = self.step(name, step, value, place, (*path, name))
        return value

    def step(self, name: str, step: Step, value: _Value, place: _Place, path: KeyPath) -> _Value:
        self.grow(path)
        inputs = [self.refer(reference, place, (*path, "from")) for reference in step.from_] or [value]
        if not self.condition(step.when, place.environment, (*path, "when")):
            return inputs[0]
        full = place.name(name)
        if step.call is not None:
            return self.call(step.call, inputs, full, place, path)
        bound = self.resolve(step.layer, place.environment, path)
        if bound is None:
            return _Value(inputs[0].node, None)
        if bound.kind == ABSENT:
            return inputs[0]
        if bound.kind in OPERATIONS:
            return self.emit(bound, inputs, full, path)
        if len(inputs) > 1:
            self.problem(f"block {bound.kind!r} takes one input, not {len(inputs)}", path)
        return self.block(bound, inputs[0], lambda inner: place.name(f"{name}.{inner}"), path)

    def refer(self, name: str, place: _Place, path: KeyPath) -> _Value:
        if name in place.values:
            return place.values[name]
        self.problem(f"no earlier layer here is named {name!r}{suggest(name, place.values)}", path)
        return _Value(INPUT, None)

    def call(self, target: str, inputs: list[_Value], name: str, place: _Place, path: KeyPath) -> _Value:
        owner = self.owners.get(place.name(target))
        shapes = tuple(value.shape for value in inputs if value.shape is not None)
        if owner is None:
            if target not in place.values:
                message = f"no earlier layer here is named {target!r}{suggest(target, place.values)}"
                self.problem(message, (*path, "call"))
            elif len(shapes) == len(inputs):
                self.problem(f"{target!r} is no single layer, which alone can be called again", (*path, "call"))
            return _Value(inputs[0].node, None)
        operation = owner.node.operation
        if len(shapes) == len(inputs) and operation.parameters(*shapes) != operation.parameters(*owner.inputs):
            wanted, given = list(owner.inputs[0]), list(shapes[0])
            message = f"the parameters of {target!r} are for an input of {wanted}, not {given} (from {inputs[0].node})"
            self.problem(message, (*path, "call"), of_shapes=True)
            return _Value(inputs[0].node, None)
        return self.add_node(operation, inputs, name, path, calls=owner.node.name)

    def emit(self, bound: _Bound, inputs: list[_Value], name: str, path: KeyPath) -> _Value:
        """Add a node for an operation."""
        kind, arguments = bound.kind, bound.arguments
        try:
            key = (kind, tuple((name, _hashable(value)) for name, value in arguments.items()))
            operation = self.operations.get(key)
        except TypeError:
            key = operation = None
        if operation is None:
            try:
                operation = OPERATIONS[kind].model_validate({"op": kind, **arguments})
            except ValidationError as error:
                self.operation_problems(bound, error, path)
                return _Value(inputs[0].node, None)
            if any(map(_is_unknown, arguments.values())):
                return _Value(inputs[0].node, None)
            if key is not None:
                self.operations[key] = operation
        return self.add_node(operation, inputs, name, path)

    def operation_problems(self, bound: _Bound, error: ValidationError, path: KeyPath) -> None:
        """One problem for each wrong argument, but for those whose mistake has been told where they come from."""
        items: dict[str, Any] = {}
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            # Where a word or numbers may stand and neither does, numbers were meant.
            if name not in items or items[name]["type"] == "literal_error":
                items[name] = item
        unknown = any(map(_is_unknown, bound.arguments.values()))
        for name, item in items.items():
            derived = name not in bound.arguments and item["type"] != "missing"
            if (derived and (unknown or len(items) > 1)) or _is_unknown(bound.arguments.get(name)):
                continue
            written = bound.written.get(name)
            self.problem(_operation_message(bound.kind, item, written), written.path if written else path)

    def add_node(
        self, operation: AnyOperation, inputs: list[_Value], name: str, path: KeyPath, calls: str | None = None
    ) -> _Value:
        arity = len(inputs)
        if arity < 2 if operation.joins else arity != 1:
            wanted = "two inputs or more" if operation.joins else "one input"
            self.problem(f"{operation.op} takes {wanted}, not {arity}; 'from' names them", path)
            return _Value(inputs[0].node, None)
        shapes = [value.shape for value in inputs if value.shape is not None]
        if len(shapes) < arity:
            return _Value(inputs[0].node, None)
        try:
            shape = operation.output_shape(*shapes)
        except ShapeError as error:
            sources = " and ".join(value.node for value in inputs)
            self.problem(f"{error} (from {sources})", path, of_shapes=True)
            return _Value(inputs[0].node, None)
        if name in self.owners:
            self.problem(f"two layers are named {name!r}", path)
            return _Value(name, None)
        try:
            node = Node(name=name, operation=operation, inputs=tuple(v.node for v in inputs), shape=shape, calls=calls)
        except ValidationError:
            self.problem(
                f"{name!r} is not a name: letters, digits, _ and -, in parts joined by dots, a letter or digit first",
                path,
            )
            return _Value(inputs[0].node, None)
        self.nodes.append(node)
        self.written[name] = path
        if calls is None:
            self.owners[name] = _Owner(node, tuple(shapes))
            self.declared.append(name)
        else:
            self.owners[name] = self.owners[calls]
        return _Value(name, shape)

    # -- layers, arguments and numbers ---------------------------------------------------------------------------

    def resolve(
        self, layer: Layer, environment: _Environment, path: KeyPath, seen: tuple[str, ...] = ()
    ) -> _Bound | None:
        """Follow a reference through slots and defined layers to an operation or a block."""
        kind = layer.kind
        if kind == ABSENT:
            return _NOTHING
        if kind in environment.slots:
            base = environment.slots[kind]
        elif kind in self.spec.layers and kind not in seen:
            # Defined layers mean the same wherever they are used: their arguments see the spec's parameters alone.
            found = self.resolve(self.spec.layers[kind], self.root, ("layers", kind), (*seen, kind))
            if found is None:
                return None
            base = found
        elif kind in OPERATIONS or kind in self.spec.blocks:
            base = _Bound(kind, {}, {})
        elif kind in seen:
            self.problem(f"layer {kind!r} is defined by itself", path)
            return None
        else:
            known = [*environment.slots, *self.spec.layers, *OPERATIONS, *self.spec.block_names(), ABSENT]
            self.problem(f"unknown operation, block or layer {kind!r}{suggest(kind, known)}", path)
            return None
        if not layer.arguments or base.kind == ABSENT:
            return base
        arguments, written = dict(base.arguments), dict(base.written)
        for name, value in layer.arguments.items():
            where = (*path, kind, name)
            if self.known_argument(base.kind, name, where):
                arguments[name] = self.argument(base.kind, name, value, environment, where)
                given = environment.written.get(value) if isinstance(value, str) else None
                written[name] = given or _Written(where, value)
        return _Bound(base.kind, arguments, written)

    def known_argument(self, kind: str, name: str, path: KeyPath, also: frozenset[str] = frozenset()) -> bool:
        if kind in OPERATIONS:
            known = {*OPERATIONS[kind].model_fields, *_ALIASES.get(kind, ())} - {"op"}
        else:
            known = set(self.spec.blocks[kind].parameters)
        if name in known:
            return True
        what = "operation" if kind in OPERATIONS else "block"
        self.problem(f"unknown key {name!r} of {what} {kind!r}{suggest(name, known | also)}", path, key=True)
        return False

    def argument(self, kind: str, name: str, value: Any, environment: _Environment, path: KeyPath) -> Any:
        """The value of one argument of an operation or a block, with its expressions evaluated where they stand."""
        if kind in OPERATIONS:
            return self.operation_argument(kind, name, value, environment, path)
        wanted = parameter_type(self.spec.blocks[kind], name)
        if wanted == "layer":
            return self.slot(value, environment, path)
        number = self.number(value, environment, path)
        if number is None:
            return _UNKNOWN
        fits = {
            "bool": isinstance(number, bool),
            "int": isinstance(number, int) and not isinstance(number, bool),
            "number": not isinstance(number, bool),
        }[wanted]
        if not fits:
            self.problem(f"must be {_ARTICLE[wanted]}, not {shown(number)}", path)
            return _UNKNOWN
        return number

    def operation_argument(self, kind: str, name: str, value: Any, environment: _Environment, path: KeyPath) -> Any:
        if isinstance(value, str):
            words = _words(kind, name)
            if value in words:
                return value
            if words and value.isidentifier() and value not in environment.numbers:
                known = [*words, *environment.numbers]
                self.problem(f"must be {' or '.join(words)}, or a number, not {value!r}{suggest(value, known)}", path)
                return next(iter(words))
            number = self.number(value, environment, path)
            return _UNKNOWN if number is None else number
        if isinstance(value, list):
            items = typing.cast("list[Any]", value)
            return [self.operation_argument(kind, name, item, environment, (*path, i)) for i, item in enumerate(items)]
        return value

    def slot(self, value: Any, environment: _Environment, path: KeyPath) -> _Bound:
        try:
            layer = Layer.model_validate(value)
        except ValidationError as error:
            for item in error.errors():
                self.problem(str(item.get("ctx", {}).get("error", item["msg"])), path)
            return _NOTHING
        return self.resolve(layer, environment, path) or _NOTHING

    def number(self, value: Any, environment: _Environment, path: KeyPath) -> Number | None:
        if isinstance(value, int | float):
            return value
        if not isinstance(value, str):
            self.problem(f"must be a number or an expression, not {shown(value)}", path)
            return None
        try:
            return evaluate(value, environment.numbers)
        except ExpressionError as error:
            self.problem(str(error), path)
            return None

    def condition(self, value: bool | str, environment: _Environment, path: KeyPath) -> bool:
        return bool(self.number(value, environment, path)) if value is not True else True

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    depth = 0

    def grow(self, path: KeyPath) -> None:
        """Count a step or a block, present or not: what is too large to be meant is not walked to its end."""
        self.size += 1
        if self.size > MAX_LAYERS:
            self.problem(f"the network has more than {MAX_LAYERS:,} layers", path)
            raise _GivenUpError

    @contextmanager
    def using(self, path: KeyPath) -> Generator[None]:
        """Mistakes inside a block are told at the place that uses it, the outermost."""
        outer = self.use
        self.use = outer or path
        self.depth += 1
        yield
        self.use = outer
        self.depth -= 1

    @contextmanager
    def declaring(self, sections: dict[str, list[str]], section: str) -> Generator[None]:
        outer, self.declared = self.declared, []
        yield
        sections[section] = sections.get(section, []) + self.declared
        self.declared = outer

    def problem(self, message: str, path: KeyPath, *, key: bool = False, of_shapes: bool = False) -> None:
        position = self.spec.position(path, key=key)
        where = path
        if self.use and path[:1] == ("blocks",):
            use = self.spec.position(self.use)
            if position is None or use is None or Catalogue.shipped().owns(Path(position.file)):
                # The user's own file comes first; the shipped block's is where to look further.
                inside = ".".join(map(str, path[2:]))
                at = f" at {position}" if position else ""
                message = f"{message} (in block {path[1]!r}, {inside}{at})"
                position, where = use, self.use
            else:
                if not of_shapes and (message, position) in self.told:
                    return
                self.told.add((message, position))
                message = f"{message} (used by {'.'.join(map(str, self.use))})"
        problem = Problem(message, ".".join(map(str, where)), position)
        if problem in self.problems:
            return
        self.problems.append(problem)
        if of_shapes:
            self.shape_problems.add(problem)
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem("too many problems; the rest of the spec is not looked at"))
            raise _GivenUpError


# ---------------------------------------------------------------------------------------------------------------

_ARTICLE = {"bool": "true or false", "int": "a whole number", "number": "a number"}
_ALIASES = {"batch_norm": ("decay",)}


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
        before = list(block.parameters)[: list(block.parameters).index(name)]
        numbers = [earlier for earlier in before if parameter_type(block, earlier) != "layer"]
        return "number" if declared in numbers or declared.startswith("in_") else "layer"
    try:
        variables(declared)
    except ExpressionError:
        return "layer"
    return "number"


def weighted_depth(graph: Graph) -> int:
    """Convolutions and linear layers on the main path, the first input of every join, as ResNets count their depth."""
    depth, name = 0, graph.outputs[-1]
    while name != INPUT:
        node = graph.by_name[name]
        depth += node.operation.category in (Category.CONVOLUTION, Category.LINEAR)
        name = node.inputs[0]
    return depth


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


def _hashable(value: Any) -> Any:
    # True and 1 are equal but not both valid, hence the type.
    if isinstance(value, list):
        return tuple(_hashable(item) for item in typing.cast("list[Any]", value))
    return (type(value), value)


def _is_unknown(value: Any) -> bool:
    return value is _UNKNOWN or (isinstance(value, list) and any(map(_is_unknown, typing.cast("list[Any]", value))))


def _operation_message(kind: str, item: Any, written: _Written | None) -> str:
    """One of pydantic's errors about an operation's fields, in our words."""
    loc = item["loc"]
    name = str(loc[0]) if loc else ""
    if item["type"] == "missing":
        return f"{kind} needs {name!r}"
    if item["type"] == "value_error" and not name:
        return f"{kind}: {item['ctx']['error']}"
    text = item["ctx"]["error"] if item["type"] == "value_error" else plain(item["msg"])
    message = f"{kind}: {name} {text}, not {shown(item['input'])}"
    source = written.value if written else None
    return f"{message} (from {source!r})" if isinstance(source, str) and source != item["input"] else message
