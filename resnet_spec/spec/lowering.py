"""From a spec to a graph: slots are filled, arithmetic is evaluated, blocks are repeated, shapes follow.

One walk in order of execution. A mistake is recorded and the walk goes on with an unknown shape, so that every
mistake of a spec is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from pydantic import ValidationError

from resnet_spec.errors import Problem, SpecError, plain, shown, suggest
from resnet_spec.graph import INPUT, Graph, Node, Scope, strides_of, unused
from resnet_spec.graph.folding import fold
from resnet_spec.operations import OPERATIONS, AnyOperation, Category
from resnet_spec.operations.fields import Shape, ShapeError
from resnet_spec.spec.assertions import untrue_claims
from resnet_spec.spec.diagnostics import GivenUpError, Reports
from resnet_spec.spec.expressions import ExpressionError, evaluate
from resnet_spec.spec.models import ABSENT, FEATURES, STAGE_KEYS, Chain, Identity, Shortcut, Stage, Step
from resnet_spec.spec.resolution import Arguments, Bound, Environment, Written, is_unknown

if TYPE_CHECKING:
    from resnet_spec.document.parser import KeyPath
    from resnet_spec.spec.spec import Spec

MAX_LAYERS = 100_000
Namer: TypeAlias = Callable[[str], str]


class _Value(NamedTuple):
    """What a step computes: the node, and its shape, or None after a mistake."""

    node: str
    shape: Shape | None


class _Owner(NamedTuple):
    """The node that owns a layer, and the shapes its layer was made for."""

    node: Node
    inputs: tuple[Shape, ...]


_ADDITION = Bound("add", {}, {})


@dataclass(frozen=True)
class _Place:
    """A chain's surroundings: how its layers are named, the values steps may refer to, and where it is written."""

    environment: Environment
    name: Namer
    values: dict[str, _Value]


def lower(spec: Spec) -> Graph:
    """The graph of a spec; raises SpecError with every problem found."""
    lowering = _Lowering(spec)
    graph = lowering.run()
    if graph is None:
        raise SpecError(lowering.reports.problems)
    return graph


def name_problems(spec: Spec) -> list[Problem]:
    """The problems of a spec that do not hang on shapes; for a spec whose other mistakes were cut out."""
    lowering = _Lowering(spec)
    lowering.run()
    return [problem for problem in lowering.reports.problems if problem not in lowering.reports.shape_problems]


class _Lowering:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.nodes: list[Node] = []
        self.owners: dict[str, _Owner] = {}
        self.written: dict[str, KeyPath] = {}
        self.scopes: list[Scope] = []
        self.declared: list[str] = []
        self.operations: dict[Any, AnyOperation] = {}
        self.size = 0
        self.blocks_done, self.block_count = 0, sum(stage.repeat for stage in spec.stages.values())
        self.reports = Reports(spec)
        self.problem = self.reports.problem
        self.arguments = Arguments(spec, self.reports)

    # -- the network ---------------------------------------------------------------------------------------------

    def run(self) -> Graph | None:
        try:
            return self.network()
        except GivenUpError:
            return None

    def network(self) -> Graph | None:
        spec = self.spec
        start = _Value(INPUT, spec.input.shape)
        place = _Place(self.arguments.root, lambda name: name, {INPUT: start})
        self.requirements()
        value = self.chain(spec.stem, start, place, ("stem",))
        stem = len(self.nodes)
        for name, stage in spec.stages.items():
            value = place.values[name] = self.stage(name, stage, value)
        value = self.chain(spec.final, value, place, ("final",))
        value = self.chain(spec.head, value, place, ("head",))
        names = self.features(self.nodes[:stem]) if spec.outputs == FEATURES else spec.outputs
        outputs = self.outputs(names, value)
        # What runs after the last tap is left out; what nothing uses even in the whole network is a mistake.
        everything = tuple(dict.fromkeys((*outputs, value.node)))
        if not self.reports.problems:
            self.check_used(everything)
        if self.reports.problems:
            return None
        executed = [node.name for node in self.nodes if node.calls is None]
        whole = Graph(
            name=spec.name,
            description=spec.description,
            input=spec.input,
            nodes=tuple(self.nodes),
            outputs=everything,
            scopes=tuple(self.scopes),
            declaration=tuple(self.declared) if self.declared != executed else (),
            initialization=spec.initialization,
        )
        graph = whole.with_outputs(outputs, (names or outputs) if spec.named_outputs else ())
        for claim in untrue_claims(spec, graph, whole):
            self.problem(claim.message, claim.path, key=claim.key)
        if self.reports.problems:
            return None
        return fold(graph) if spec.folded else graph

    def requirements(self) -> None:
        if self.reports.problems:
            # A parameter that is wrong has been told; what then does not hold follows from it.
            return
        for expression, message in self.spec.require.items():
            try:
                holds = evaluate(expression, self.arguments.root.numbers)
            except ExpressionError as error:
                holds, message = False, str(error)
            if not holds:
                self.problem(message, ("require", expression), key=True)

    def features(self, stem: Sequence[Node]) -> tuple[str, ...]:
        """The end of the stem's stride-2 part, which a pool or a padding before it is no more, and of each stage."""
        stages = [scope.name for scope in self.scopes if scope.kind == "stage"]
        strides = strides_of(self.spec.input, stem)
        halved = [
            node.name
            for node in stem
            if strides[node.name] == (2, 2) and node.operation.category not in (Category.POOLING, Category.RESHAPING)
        ]
        return (*halved[-1:], *stages)

    def outputs(self, names: tuple[str, ...], last: _Value) -> tuple[str, ...]:
        if not names:
            if last.node == INPUT and not self.reports.problems:
                self.problem("the network has no layers: each is 'none' or left out by 'when'", ("stem",))
            return (last.node,)
        known = {scope.name: scope.output for scope in self.scopes}
        known |= {node.name: node.name for node in self.nodes}
        if last.shape is None:
            # After a mistake not every layer is there.
            known |= {name: name for name in names if name.partition(".")[0] in self.spec.stages}
        for index, name in enumerate(names):
            if name not in known:
                self.problem(f"no layer, block or stage is named {name!r}{suggest(name, known)}", ("outputs", index))
            elif self.spec.named_outputs and name in names[:index]:
                self.problem(f"{name!r} stands here twice, where 'named_outputs' needs each once", ("outputs", index))
        return tuple(known.get(name, name) for name in names)

    def check_used(self, outputs: tuple[str, ...]) -> None:
        for name in unused(self.nodes, outputs):
            self.problem(f"nothing uses the value of {name!r}, and it is no output", self.written[name])

    # -- stages and blocks ---------------------------------------------------------------------------------------

    def stage(self, key: str, stage: Stage, value: _Value) -> _Value:
        path: KeyPath = ("stages", key)
        for name, argument in [*stage.arguments.items(), *stage.first.items(), *stage.last.items()]:
            length = len(cast("list[Any]", argument)) if isinstance(argument, list) else stage.repeat
            if length != stage.repeat:
                where = (*path, name) if name in stage.arguments else path
                message = f"must list one value for each block: {length} where 'repeat' is {stage.repeat}"
                self.problem(message, where)
                return _Value(value.node, None)
        for index in range(stage.repeat):
            value = self.stage_block(key, stage, index, value)
            self.blocks_done += 1
        if value.shape is not None:
            self.scopes.append(Scope(name=key, kind="stage", output=value.node))
        return value

    def stage_block(self, key: str, stage: Stage, index: int, value: _Value) -> _Value:
        path: KeyPath = ("stages", key)
        first, last = index == 0, index == stage.repeat - 1
        counts = {"index": index, "number": index + 1, "count": stage.repeat}
        counts |= {"overall_index": self.blocks_done, "overall_count": self.block_count}
        environment = Environment(self.arguments.root.numbers | counts)
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
            if self.arguments.known_argument(kind, name, where, also=keys):
                bound[name] = self.arguments.argument(kind, name, argument, environment, where)
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

        written = {name: Written(where, argument) for name, (argument, where) in arguments.items()}
        return self.block(Bound(kind, bound, written), value, name_layer, path)

    def block(self, bound: Bound, value: _Value, name: Namer, path: KeyPath) -> _Value:
        """Lower one block; its layers' names come from ``name``, and ``path`` is where it is used."""
        kind, block = bound.kind, self.spec.blocks[bound.kind]
        self.grow(path)
        if self.reports.depth > 20:
            self.problem(f"block {kind!r} contains itself", path)
            raise GivenUpError
        with self.reports.using(path):
            where: KeyPath = ("blocks", kind)
            environment = self.arguments.bind(bound, value.shape, where)
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
        if not self.arguments.condition(shortcut.when, place.environment, (*path, "when")):
            branch, path = shortcut.otherwise, (*path, "otherwise")
        start = self.refer(branch.from_, place, (*path, "from"))
        return self.chain(branch.layers, start, place, (*path, "layers"))

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
        if not self.arguments.condition(step.when, place.environment, (*path, "when")):
            return inputs[0]
        full = place.name(name)
        if step.call is not None:
            return self.call(step.call, inputs, full, place, path)
        bound = self.arguments.resolve(step.layer, place.environment, path)
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

    def emit(self, bound: Bound, inputs: list[_Value], name: str, path: KeyPath) -> _Value:
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
            if any(map(is_unknown, arguments.values())):
                return _Value(inputs[0].node, None)
            if key is not None:
                self.operations[key] = operation
        return self.add_node(operation, inputs, name, path)

    def operation_problems(self, bound: Bound, error: ValidationError, path: KeyPath) -> None:
        """One problem for each wrong argument, but for those whose mistake has been told where they come from."""
        items: dict[str, Any] = {}
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            # Where a word or numbers may stand and neither does, numbers were meant.
            if name not in items or items[name]["type"] == "literal_error":
                items[name] = item
        unknown = any(map(is_unknown, bound.arguments.values()))
        for name, item in items.items():
            derived = name not in bound.arguments and item["type"] != "missing"
            if (derived and (unknown or len(items) > 1)) or is_unknown(bound.arguments.get(name)):
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

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def grow(self, path: KeyPath) -> None:
        """Count a step or a block, present or not: what is too large to be meant is not walked to its end."""
        self.size += 1
        if self.size > MAX_LAYERS:
            self.problem(f"the network has more than {MAX_LAYERS:,} layers", path)
            raise GivenUpError

    @contextmanager
    def declaring(self, sections: dict[str, list[str]], section: str) -> Generator[None]:
        outer, self.declared = self.declared, []
        yield
        sections[section] = sections.get(section, []) + self.declared
        self.declared = outer


# ---------------------------------------------------------------------------------------------------------------


def _hashable(value: Any) -> Any:
    # True and 1 are equal but not both valid, hence the type.
    if isinstance(value, list):
        return tuple(_hashable(item) for item in cast("list[Any]", value))
    return (type(value), value)


def _operation_message(kind: str, item: Any, written: Written | None) -> str:
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
