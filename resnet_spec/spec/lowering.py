"""Lowers a spec to a graph: fills slots, evaluates expressions, repeats blocks and infers shapes.

It is one pass in order of execution. After a mistake the pass continues with an unknown shape, so that every mistake of
a spec is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic import ValidationError

from resnet_spec.document.overrides import SOURCES as OVERRIDES
from resnet_spec.errors import KeyPath, Locate, Problem, SpecError, suggest
from resnet_spec.graph import INPUT, Graph, Input, Node, Scope, strides_of, unused
from resnet_spec.graph.initialization_rules import InitializationRules
from resnet_spec.graph.prefixing import prefixed
from resnet_spec.operations import Category
from resnet_spec.optimization.folding import fold
from resnet_spec.spec.assertions import failed_assertions
from resnet_spec.spec.chains import ChainLowering, Surroundings
from resnet_spec.spec.diagnostics import Diagnostics, LoweringStoppedError
from resnet_spec.spec.expressions import UNKNOWN, ExpressionError
from resnet_spec.spec.models import FEATURES, STAGE_KEYS, Network, Outputs, Source, Stage
from resnet_spec.spec.names import counts
from resnet_spec.spec.parameter_naming import with_parameter_names
from resnet_spec.spec.resolution import Bound, Environment, Written
from resnet_spec.spec.values import UNKNOWN_PARTS, Value

FIRST_BLOCKS = 8
"""After as many blocks of a stage, its size is estimated."""

MAX_NAME_LENGTH = 200


def lower(network: Network, locate: Locate, *, overridden: bool = False) -> Graph:
    """The graph of a spec; raises SpecError with every problem, at the positions that ``locate`` finds.

    ``overridden`` marks a spec changed from outside, whose patterns over names need not match.
    """
    lowering = _Lowering(network, locate, overridden=overridden)
    graph = lowering.run()
    if graph is None:
        raise SpecError(lowering.diagnostics.problems)
    return graph


def name_problems(network: Network, locate: Locate) -> list[Problem]:
    """The problems of a spec that do not depend on shapes, for one from which other mistakes were removed."""
    lowering = _Lowering(network, locate, overridden=False)
    lowering.run()
    diagnostics = lowering.diagnostics
    return [problem for problem in diagnostics.problems if problem not in diagnostics.shape_problems]


def block_problems(network: Network, locate: Locate, expected: Callable[[str], bool]) -> list[Problem]:
    """The problems of blocks; ``expected`` says which layers the specs that use them define."""
    lowering = _Lowering(network, locate, overridden=False)
    lowering.resolver.expected = expected
    lowering.run()
    return lowering.diagnostics.problems


class _Lowering(ChainLowering):
    """Lowers the network around the chains: its stages, outputs and assertions."""

    def __init__(self, network: Network, locate: Locate, *, overridden: bool) -> None:
        super().__init__(network, Diagnostics(locate))
        self.locate = locate
        self.stopped = False
        self.networks: list[Graph] = []
        self.output_names: tuple[str, ...] = ()
        self.overridden = overridden
        names = network.input.positions
        place = locate(("input", names[0])) if names else None
        if overridden and place is not None and place.file.startswith(OVERRIDES):
            size = " and ".join(f"input.{name}={getattr(network.input, name)}" for name in names)
            self.diagnostics.size_note = f"; with {size} instead of the spec's own size"
        self.blocks_done, self.block_count = 0, sum(stage.repeat for stage in network.stages.values())

    # -- the network ---------------------------------------------------------------------------------------------

    def run(self) -> Graph | None:
        try:
            return self.graph()
        except LoweringStoppedError:
            self.stopped = True
            return None

    def graph(self) -> Graph | None:
        network, nodes = self.network, self.builder.nodes
        start = Value(INPUT, network.input.shape)
        values = {INPUT: start}
        around = Surroundings(replace(self.resolver.root, values=values), lambda name: name, values)
        self.check_requirements()
        value = self.chain(network.stem, start, around, ("stem",))
        stem = len(nodes)
        for name, stage in network.stages.items():
            value = around.values[name] = self.stage(name, stage, value, around)
        value = self.chain(network.final, value, around, ("final",))
        value = self.chain(network.head, value, around, ("head",))
        self.examine_unused()
        names = self.features(nodes[:stem]) if network.outputs == FEATURES else network.outputs
        outputs = self.outputs(names, value)
        # Nodes after the last output are removed; a node that nothing uses, even in the whole network, is a mistake.
        everything = tuple(dict.fromkeys((*outputs, value.node)))
        if not self.diagnostics.problems:
            self.check_used(everything)
        if self.diagnostics.problems:
            return None
        names_of_nodes = {node.name for node in nodes}
        self.scopes = [scope for scope in self.scopes if scope.output in names_of_nodes]
        whole = Graph(
            name=network.name,
            description=network.description,
            input=network.input,
            nodes=tuple(nodes),
            outputs=everything,
            scopes=tuple(self.scopes),
            declaration=self.builder.declaration(),
            initialization=self.initialization(),
        )
        whole = with_parameter_names(whole, network.parameter_names, self.problem)
        self.output_names = names or outputs
        graph = whole.with_outputs(outputs, (names or outputs) if network.named_outputs else ())
        for failed in failed_assertions(network, graph, whole, overridden=self.overridden):
            self.problem(failed.message, failed.path, key=failed.key)
        if self.diagnostics.problems:
            return None
        graph = fold(graph) if network.folded else graph
        if network.prefix:
            graph = prefixed(graph, network.prefix)
            self.check_lengths(graph)
        return graph if not self.diagnostics.problems else None

    def check_lengths(self, graph: Graph) -> None:
        for node in graph.nodes:
            if len(node.name) > MAX_NAME_LENGTH:
                self.problem(f"with it, {node.name!r} has more than {MAX_NAME_LENGTH} characters", ("prefix",))
                return

    def part(self, network: Network, outputs: Outputs, inputs: list[Value], prefix: str, path: KeyPath) -> Value:
        """Lower a network that is a part of this one; the names of its layers begin with ``prefix``."""
        value, where = inputs[0], (*path, "spec")
        unknown = Value(value.node, None, UNKNOWN_PARTS)
        if len(inputs) > 1:
            self.problem(f"a network takes one value, not {len(inputs)}", path)
        if value.shape is None:
            return unknown
        try:
            input = Input.of(value.shape)
        except ValidationError:
            self.problem(f"a network's input is a map or a vector, not {list(value.shape)} (from {value.node})", path)
            return unknown
        changed = {"input": input, "outputs": outputs or network.outputs, "named_outputs": False, "depth": None}
        inner = _Lowering(
            network.model_copy(update=changed | {"source": Source()}),
            lambda path, *, key=False: self.locate((*where, *path), key=key),
            overridden=True,
        )
        inner.size, inner.depth = self.size, self.depth
        graph = inner.run()
        self.size = inner.size
        for problem in inner.diagnostics.problems:
            self.diagnostics.inherit(problem, network.name, where)
        if inner.stopped:
            raise LoweringStoppedError
        if graph is None:
            return unknown
        graph = prefixed(graph, prefix)
        self.networks.append(graph)
        nodes = self.builder.graft(graph, value.node, path)
        outputs_by_name = zip(inner.output_names, graph.outputs, strict=True)
        result = nodes[graph.outputs[-1]]
        self.scopes += graph.scopes
        self.scopes.append(Scope(name=prefix.rstrip("._-"), kind="block", output=result.node, block=network.name))
        return result._replace(parts={name: nodes[output] for name, output in outputs_by_name})

    def initialization(self) -> InitializationRules:
        """The spec's rules, and those of the networks in it for their own parameters."""
        own = self.network.initialization
        rules = {key: rule for key, rule in own.root.items() if key not in own.patterns()}
        for part in self.networks:
            kept = InitializationRules.model_construct(root=rules)
            found = {parameter.name: part.initialization.rule(parameter) for parameter in part.parameters()}
            rules |= {p.name: found[p.name] for p in part.parameters() if found[p.name] != kept.rule(p)}
        return InitializationRules.model_construct(root=rules | own.root if self.networks else dict(own.root))

    def examine_unused(self) -> None:
        """Report the mistakes of the author's blocks and layers that nothing uses."""
        for kind in self.network.blocks:
            if kind not in self.used_blocks and self.is_own(("blocks", kind)):
                # What it shares with another block, by 'extends', is reported for that one.
                with self.diagnostics.elsewhere():
                    self.examine_block(kind)
        for name, layer in self.network.layers.items():
            if name not in self.resolver.used_layers and self.is_own(("layers", name)):
                self.resolver.resolve(layer, self.resolver.root, ("layers", name), (name,))

    def check_requirements(self) -> None:
        for expression, message in self.network.require.items():
            try:
                holds = self.resolver.root.value(expression)
            except ExpressionError as error:
                holds, message = False, str(error)
            if not holds:
                self.problem(message, ("require", expression), key=True)

    def features(self, stem: Sequence[Node]) -> tuple[str, ...]:
        """The last layer of the stem at stride 2, except a pool or a padding, and the end of each stage."""
        stages = [scope.name for scope in self.scopes if scope.kind == "stage" and scope.name in self.network.stages]
        strides = strides_of(self.network.input, stem)
        halved = [
            node.name
            for node in stem
            if strides[node.name] == (2, 2) and node.operation.category not in (Category.POOLING, Category.RESHAPING)
        ]
        return (*halved[-1:], *stages)

    def outputs(self, names: tuple[str, ...], last: Value) -> tuple[str, ...]:
        if not names:
            if last.node == INPUT and not self.diagnostics.problems:
                self.problem("the network has no layers: each is 'none' or left out by 'when'", ("stem",))
            return (last.node,)
        known = {scope.name: scope.output for scope in self.scopes}
        known |= {node.name: node.name for node in self.builder.nodes}
        if self.diagnostics.problems:
            # Layers may be missing after a mistake; where names do not begin with their stage's, any may be meant.
            chains = {*self.network.stem, *self.network.stages, *self.network.final, *self.network.head}
            nested = all(pattern.startswith("{stage}.") for pattern in self.name_patterns())
            known |= {name: name for name in names if not nested or name.partition(".")[0] in chains}
        for index, name in enumerate(names):
            if name not in known:
                self.problem(f"no layer, block or stage is named {name!r}{suggest(name, known)}", ("outputs", index))
            elif self.network.named_outputs and name in names[:index]:
                self.problem(f"{name!r} is listed twice; with 'named_outputs' each name is unique", ("outputs", index))
        return tuple(known.get(name, name) for name in names)

    def name_patterns(self) -> set[str]:
        return {stage.names or self.network.names for stage in self.network.stages.values()}

    def check_used(self, outputs: tuple[str, ...]) -> None:
        """Report layers that nothing uses; those of a network that is a part of this one are left out instead."""
        of_parts = {node.name for part in self.networks for node in part.nodes}
        dead = unused(self.builder.nodes, outputs)
        self.builder.remove(of_parts.intersection(dead))
        for name in (name for name in dead if name not in of_parts):
            message = f"nothing uses the value of {name!r}, and it is not an output"
            self.problem(message, self.builder.written[name])

    # -- stages and blocks ---------------------------------------------------------------------------------------

    def stage(self, key: str, stage: Stage, value: Value, around: Surroundings) -> Value:
        path: KeyPath = ("stages", key)
        if stage.repeat > 1 and not counts(stage.names or self.network.names):
            where = (*path, "names") if stage.names else ("names",)
            message = f"a pattern without a counter, such as {{index}}, names one block, not {stage.repeat}"
            self.problem(f"{message} (in stage {key!r})", where)
            return value.after_mistake()
        for name, argument in [*stage.arguments.items(), *stage.first.items(), *stage.last.items()]:
            length = len(cast("list[Any]", argument)) if isinstance(argument, list) else stage.repeat
            if length != stage.repeat:
                where = (*path, name) if name in stage.arguments else path
                message = f"must list one value for each block: {length} where 'repeat' is {stage.repeat}"
                self.problem(message, where)
                return value.after_mistake()
        sizes: list[int] = []
        for index in range(stage.repeat):
            before = self.size
            value = self.stage_block(key, stage, index, value, around)
            self.blocks_done += 1
            sizes.append(self.size - before)
            if len(sizes) == FIRST_BLOCKS:
                # So many blocks that they would take seconds to count are refused at once.
                rest = min(sizes) * (stage.repeat - FIRST_BLOCKS)
                self.grow((*path, "repeat"), rest)
                self.size -= rest
        if value.shape is not None:
            self.scopes.append(Scope(name=key, kind="stage", output=value.node))
        return value

    def stage_block(self, key: str, stage: Stage, index: int, value: Value, around: Surroundings) -> Value:
        path: KeyPath = ("stages", key)
        first, last = index == 0, index == stage.repeat - 1
        counters = {"index": index, "number": index + 1, "count": stage.repeat}
        counters |= {"overall_index": self.blocks_done, "overall_count": self.block_count}
        environment = Environment(self.resolver.root.numbers | counters, around.values)
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
        block = self.network.blocks.get(kind) if isinstance(kind, str) else None
        if block is None:
            self.problem(f"unknown block {kind!r}{suggest(str(kind), self.resolver.block_names())}", kind_path)
            return value.after_mistake()
        if "stride" not in arguments:
            here = last if stage.stride_in == "last" else first
            if "stride" in block.parameters:
                arguments["stride"] = (stage.stride if here else 1, (*path, "stride"))
            elif stage.stride != 1:
                self.problem(f"block {kind!r} has no parameter 'stride'", (*path, "stride"))
        bound: dict[str, Any] = {}
        for name, (argument, where) in arguments.items():
            keys = (STAGE_KEYS - {"first", "last"}) if len(where) > len(path) + 1 else STAGE_KEYS
            known = self.resolver.known_argument(kind, name, where, also=keys)
            bound[name] = self.resolver.argument(kind, name, argument, environment, where) if known else UNKNOWN
        words = {
            "stage": key,
            "index": str(index),
            "number": str(index + 1),
            "remaining": str(stage.repeat - 1 - index),
            "overall_index": str(self.blocks_done),
            "overall_number": str(self.blocks_done + 1),
        }

        def name_layer(layer: str) -> str:
            name = stage.names or self.network.names
            for word, text in (words | {"layer": layer}).items():
                name = name.replace(f"{{{word}}}", text)
            return name

        written = {name: Written(where, argument) for name, (argument, where) in arguments.items()}
        return self.block(Bound(kind, bound, written), [value], name_layer, path)
