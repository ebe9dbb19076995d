"""Writes a graph as a spec: stem, stages of blocks and head; or a chain and a head where it has no blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.importing.definitions import Definition, define, step
from resnet_spec.importing.fields import stated_fields
from resnet_spec.importing.likeness import alike
from resnet_spec.importing.regions import regions
from resnet_spec.importing.shipped import shipped_parameters
from resnet_spec.importing.stages import Stage, stages_of, usual_kind
from resnet_spec.importing.template import Template
from resnet_spec.operations import Category
from resnet_spec.spec.names import counts

DEFAULT_NAMES = "{stage}.{index}.{layer}"

OWN = frozenset({"channels", "kernel", "stride", "padding", "dilation", "groups"})
"""Fields that each convolution states itself."""

HEADS = ("global_avg_pool", "global_max_pool", "gem_pool", "flatten")
"""Operations with which the head of a network without blocks begins."""


def chain_document(graph: Graph) -> dict[str, Any]:
    """A spec without blocks: a chain up to the features, and the head."""
    layers = _Layers(graph)
    pools = (index for index, node in enumerate(graph.nodes) if node.operation.op in HEADS)
    split = next(pools, len(graph.nodes)) or len(graph.nodes)
    stem, head = graph.nodes[:split], graph.nodes[split:]
    return _document(graph, layers, {"stem": layers.chain(stem, INPUT), "head": layers.chain(head, stem[-1].name)})


def block_document(
    graph: Graph, classes: Mapping[str, str], order: Mapping[str, int], shipped: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A spec with stages of blocks.

    Args:
        graph: The network.
        classes: What the source calls the blocks, by the prefix of their layers.
        order: The place of each layer with arrays in the source.
        shipped: Shipped blocks to use in place of own ones, by the names of those.

    Returns:
        The spec as plain data; without blocks, if the network has none, that of ``chain_document``.
    """
    found = regions(graph)
    indices = [index for index, region in enumerate(found) if region.is_block]
    if not indices:
        return chain_document(graph)
    layers = _Layers(graph)
    begin, end = indices[0], indices[-1] + 1
    stem, head = ([node for region in part for node in region.nodes] for part in (found[:begin], found[end:]))
    templates = [Template.of(graph, region) for region in found[begin:end]]
    kinds = alike(templates)
    if len(kinds) == len(templates) and not any(template.join for template in templates):
        # Blocks that neither repeat nor add a shortcut say nothing.
        return chain_document(graph)
    definitions: dict[int, Definition] = {}
    for same in kinds:
        name = _block_name(same[0], classes, {definition.name for definition in definitions.values()})
        definition = define(name, graph, same, layers, order)
        if shipped and (block := shipped.get(name)):
            others = next((known for known in definitions.values() if known.name == block and not known.body), None)
            definition = definition.as_shipped(block, shipped_parameters(block), others)
            layers.act = "relu"
        definitions |= dict.fromkeys(map(id, definition.templates), definition)
    rows = stages_of(templates, definitions)
    stages = {stage.key: _stage(stage, definitions) for stage in rows}
    common = Counter(stage.names for stage in rows).most_common(1)[0][0]
    common = common if counts(common) else DEFAULT_NAMES
    for stage in stages.values():
        if stage["names"] == common:
            del stage["names"]
    last = templates[-1].region.nodes[-1].name
    parts: dict[str, Any] = {
        "names": None if common == DEFAULT_NAMES else common,
        "blocks": {definition.name: definition.body for definition in definitions.values() if definition.body},
        "stem": layers.chain(stem, INPUT),
        "stages": stages,
        "head": layers.chain(head, last, {stage.blocks[-1].region.nodes[-1].name: stage.key for stage in rows}),
    }
    return _document(graph, layers, parts)


def _document(graph: Graph, layers: _Layers, parts: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "description": f"Imported from {graph.name}",
        "input": graph.input.model_dump(),
        "parameters": {} if layers.classes is None else {"classes": layers.classes},
        "layers": {name: layer for name in ("conv", "norm", "act") if (layer := getattr(layers, name))},
        **parts,
        "outputs": [] if graph.outputs == (graph.nodes[-1].name,) else list(graph.outputs),
    }
    return {key: value for key, value in data.items() if value}


class _Layers:
    """Writes layers; remembers which of the spec's own definitions it has used.

    Attributes:
        conv: The convolution of standardized kernels with what all of them state, written as ``conv``.
        norm: The usual normalization, written as ``norm``.
        classes: The features of the last linear layer.
        act: The activation of shipped blocks.
    """

    def __init__(self, graph: Graph) -> None:
        norms = [
            repr((node.operation.op, stated_fields(node)))
            for node in graph.nodes
            if node.operation.category is Category.NORMALIZATION
        ]
        usual = Counter(norms).most_common(1)
        self._usual = usual[0][0] if usual and usual[0][1] > 1 else ""
        every = [stated_fields(node) for node in graph.nodes if node.operation.op == "std_conv2d"]
        first = every[0] if len(every) > 1 else {}
        shared = [key for key, value in first.items() if all(fields.get(key) == value for fields in every)]
        self._common = {key: first[key] for key in shared if key not in OWN}
        last = graph.by_name[graph.logits]
        self._classifier = last if last.operation.op == "linear" else None
        self.conv: dict[str, Any] | None = None
        self.norm: dict[str, Any] | None = None
        self.classes: int | None = None
        self.act = ""

    def __call__(self, node: Node, fields: dict[str, Any]) -> Any:
        """A layer as a spec writes it."""
        op = node.operation.op
        if self._usual == repr((op, fields)):
            self.norm = {op: fields}
            return "norm"
        if op == "std_conv2d" and self._common:
            self.conv = {op: self._common}
            return {"conv": {key: value for key, value in fields.items() if key not in self._common}}
        if node is self._classifier:
            self.classes = int(fields["features"])
            fields = fields | {"features": "classes"}
        return {op: fields} if fields else op

    def chain(self, nodes: Sequence[Node], start: str, names: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A chain outside of blocks; ``names`` are what steps call values that are not steps."""
        names = names or {}
        steps: dict[str, Any] = {}
        before = start
        for node in nodes:
            layer = {"call": node.calls} if node.calls else self(node, stated_fields(node))
            steps[node.name] = step(layer, [names.get(name, name) for name in node.inputs], names.get(before, before))
            before = node.name
        return steps


def _block_name(template: Template, classes: Mapping[str, str], taken: set[str]) -> str:
    path = template.region.prefix.rstrip("._")
    name = classes.get(path, "") if path else ""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower().strip("_")
    words = words or ("residual_block" if template.join else "plain_block")
    return next(name for name in (words, *(f"{words}_{number}" for number in range(2, 10_000))) if name not in taken)


# -- stages ------------------------------------------------------------------------------------------------------


def _stage(stage: Stage, definitions: Mapping[int, Definition]) -> dict[str, Any]:
    kinds = [definitions[id(block)] for block in stage.blocks]
    kind = usual_kind(kinds)
    data: dict[str, Any] = {"block": kind.name, "repeat": len(kinds), "names": stage.names}
    if len(kinds) == 1:
        del data["repeat"]
    ends: dict[str, dict[str, Any]] = {"first": {}, "last": {}}
    blocks = [*stage.blocks]
    for end, index in (("first", 0), ("last", -1)):
        if kinds[index] is not kind:
            block = blocks.pop(index)
            ends[end] = {"block": kinds[index].name, **kinds[index].arguments(block)}
    for name in kind.parameters:
        values = [kind.arguments(block)[name] for block in blocks]
        if set(values) != {kind.default(name)}:
            _argue(data, ends, name, values)
    return data | {end: own for end, own in ends.items() if own}


def _argue(data: dict[str, Any], ends: dict[str, dict[str, Any]], name: str, values: list[Any]) -> None:
    """State one argument of a stage: for all blocks, for the first or the last, or a list.

    The values are those of the stage's usual kind of block; blocks of another kind are in ``ends``.
    """
    others = [end for end, own in ends.items() if "block" in own]
    if name == "stride" and not others and set(values[1:]) <= {1}:
        data |= {"stride": values[0]} if values[0] != 1 else {}
    elif name == "stride" and not others and set(values[:-1]) <= {1}:
        data |= {"stride": values[-1], "stride_in": "last"}
    elif len(set(values)) == 1:
        data[name] = values[0]
    elif len(set(values[1:])) == 1 and "first" not in others and len(values) > 2:
        data[name] = values[1]
        ends["first"][name] = values[0]
    elif len(set(values[:-1])) == 1 and "last" not in others and len(values) > 2:
        data[name] = values[0]
        ends["last"][name] = values[-1]
    else:
        before, after = (
            [ends[end].get(name, value)] if end in others else []
            for end, value in (("first", values[0]), ("last", values[-1]))
        )
        data[name] = [*before, *values, *after]
