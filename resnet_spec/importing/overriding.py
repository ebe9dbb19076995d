"""Finds the shipped spec that a graph is apart from a few overrides: numbers, repeats, a stem, a normalization.

Changes are suggested by what differs between layers of the same name, and kept if fewer layers differ with them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

from resnet_spec.document.dump import to_yaml
from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph, Node
from resnet_spec.importing.architecture import architecture
from resnet_spec.importing.fields import fields_of, stated_fields
from resnet_spec.operations import Category
from resnet_spec.spec.catalog import available
from resnet_spec.spec.loader import load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.identification import most_alike, stage_repeats

MAX_OVERRIDES = 3
"""The most overrides besides the classes and the input's size, each a word of a spec or what belongs together."""

LIKELY = 6
"""Specs of similar kernels whose layers are compared."""

USUAL = ("torchvision/resnet18", "torchvision/resnet50")
"""Specs that are compared in any case, since no kernel is alike in a network of other widths."""

ALIKE = 0.3
"""The least share of equal layers of a spec that is tried with overrides."""

NUMBERS = ("channels", "groups", "dilation", "stride")
"""Fields that a parameter of a spec may set, as a multiple of it."""

ORDER = ("extends", "input", "parameters", "layers", "stem", "stages", "head")
"""The keys of a document in the order of a spec."""

Override: TypeAlias = dict[tuple[str, ...], Any]
"""Values by the paths of their keys."""


def with_overrides(graph: Graph) -> dict[str, Any] | None:
    """The document that extends a shipped spec to a network by few overrides, or None."""
    wanted = _layers(graph)
    found: list[tuple[int, dict[str, Any], Graph]] = []
    for name in dict.fromkeys((*most_alike(available(), graph, LIKELY), *USUAL)):
        document = extending(name, graph)
        own = None if document is None else _lowered(document)
        if document is None or own is None:
            continue
        layers = _layers(own)
        if (layers & wanted).total() >= ALIKE * (layers | wanted).total():
            found.append((_distance(layers, wanted), document, own))
    for distance, document, own in sorted(found, key=lambda item: item[0])[:2]:
        if changed := _overridden(document, own, graph, distance):
            return changed
    return None


def extending(name: str, graph: Graph) -> dict[str, Any] | None:
    """What extends a shipped spec to a graph's input and classes; None if its input has other axes."""
    spec = load(name)
    document: dict[str, Any] = {"extends": name}
    own = spec.to_graph().input
    if own != graph.input:
        before, after = own.model_dump(), graph.input.model_dump()
        if before.keys() != after.keys():
            return None
        document["input"] = {key: value for key, value in after.items() if before[key] != value}
    last = graph.nodes[-1]
    classes = spec.data().get("parameters", {}).get("classes")
    if last.operation.op == "linear" and classes is not None and last.shape[0] != classes:
        document["parameters"] = {"classes": last.shape[0]}
    return document


def loaded(text: str, name: str) -> Spec:
    """The spec of a text, as a file of a name."""
    with TemporaryDirectory(prefix="resnet-spec-") as folder:
        path = Path(folder) / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[-50:]}.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)


def _lowered(document: Mapping[str, Any]) -> Graph | None:
    try:
        return loaded(to_yaml(dict(document)), "network").to_graph()
    except SpecError:
        # The spec requires another number, or has no such word.
        return None


def _layers(graph: Graph) -> Counter[str]:
    """What each layer computes, by its name if it has parameters, as often as it is."""
    owners = {parameter.node for parameter in graph.parameters()}
    return Counter(f"{node.layer if node.layer in owners else ''} {_stated(node)}" for node in graph.nodes)


def _stated(node: Node) -> str:
    return repr(node.operation.model_dump(mode="json", exclude_defaults=True))


def _distance(one: Counter[str], other: Counter[str]) -> int:
    return (one - other).total() + (other - one).total()


def _overridden(document: dict[str, Any], own: Graph, graph: Graph, distance: int) -> dict[str, Any] | None:
    """A document with those overrides by which it is the network, or None."""
    wanted, target = _layers(graph), architecture(graph, layers=True)
    data = load(document["extends"]).data()
    count = 0
    while count < MAX_OVERRIDES and distance:
        for override in _suggested(data, own, graph):
            candidate = _merged(document, override)
            other = _lowered(candidate)
            if other is not None and (less := _distance(_layers(other), wanted)) < distance:
                document, own, distance, count = candidate, other, less, count + 1
                break
        else:
            return None
    if architecture(own, layers=True) != target:
        return None
    return {key: document[key] for key in ORDER if key in document}


def _merged(document: Mapping[str, Any], override: Override) -> dict[str, Any]:
    """A document with values at some paths."""
    merged = dict(document)
    for (key, *rest), value in override.items():
        before: Any = merged.get(key)
        inner = cast("dict[str, Any]", before) if isinstance(before, dict) else {}
        merged[key] = _merged(inner, {tuple(rest): value}) if rest else value
    return merged


# -- suggestions -------------------------------------------------------------------------------------------------


def _suggested(data: Mapping[str, Any], own: Graph, graph: Graph) -> Iterator[Override]:
    """Overrides that may make a spec a network, those that change most layers first."""
    pairs = _pairs(own, graph)
    yield from _definitions(data.get("layers", {}), own, graph)
    if repeats := stage_repeats(own, [node.name for node in graph.nodes]):
        yield {("stages", stage, "repeat"): count for stage, count in repeats.items()}
    ratios = _ratios(pairs)
    for key, value in data.get("parameters", {}).items():
        if key != "classes" and _is_number(value):
            yield from ({("parameters", key): number} for number in _multiples(value, ratios))
    yield from _stem(data.get("stem") or {}, own, graph)
    yield from _head(data, own, graph)
    yield from _stages(data.get("stages", {}), pairs)


def _pairs(own: Graph, graph: Graph) -> list[tuple[Node, Node]]:
    """The layers of the same name and kind of two networks."""
    others = {node.layer: node for node in graph.nodes}
    return [
        (node, other)
        for node in own.nodes
        if (other := others.get(node.layer)) and other.operation.op == node.operation.op
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ratios(pairs: list[tuple[Node, Node]]) -> list[Fraction]:
    """By which factors numbers of layers of the same name differ, the most frequent first."""
    found: Counter[Fraction] = Counter()
    for one, other in pairs:
        first, second = fields_of(one), fields_of(other)
        for field in NUMBERS:
            before, after = first.get(field), second.get(field)
            if _is_number(before) and _is_number(after) and before != after and before and after:
                found[Fraction(cast("int", after), cast("int", before))] += 1
    return [ratio for ratio, _ in found.most_common(3)]


def _multiples(value: int, ratios: list[Fraction]) -> Iterator[int]:
    for ratio in ratios:
        for number in (value * ratio, value / ratio):
            if number.denominator == 1 and number >= 1:
                yield int(number)


def _definitions(layers: Mapping[str, Any], own: Graph, graph: Graph) -> Iterator[Override]:
    """Other fields, or another operation, where a spec defines a normalization or an activation once."""
    for key, definition in layers.items():
        word = definition if isinstance(definition, str) else next(iter(definition), "")
        nodes = [node for node in own.nodes if node.operation.op == word]
        if not nodes:
            continue
        category = nodes[0].operation.category
        others = [node for node in graph.nodes if node.operation.category is category]
        usual = Counter((node.operation.op, repr(stated_fields(node))) for node in others).most_common(1)
        if not usual:
            continue
        (op, fields), _ = usual[0]
        found = next(node for node in others if (node.operation.op, repr(stated_fields(node))) == (op, fields))
        stated = stated_fields(found)
        if op == word and isinstance(definition, dict):
            before = stated_fields(nodes[0])
            changed = {name: value for name, value in fields_of(found).items() if before.get(name, value) != value}
            changed |= {name: value for name, value in stated.items() if name not in before}
            if changed:
                yield {("layers", key, word, name): value for name, value in changed.items()}
        elif op != word and category in (Category.ACTIVATION, Category.NORMALIZATION):
            new: Any = {op: stated} if stated else op
            if isinstance(definition, dict):
                new = {word: None, op: stated} if stated else op
            yield {("layers", key): new}


def _stem(stem: Mapping[str, Any], own: Graph, graph: Graph) -> Iterator[Override]:
    """Other fields of the stem's layers, or one layer less."""
    others = {node.name: node for node in graph.nodes}
    for key, definition in stem.items():
        if not isinstance(definition, dict) or key not in own.by_name:
            continue
        node, (word, *_) = own.by_name[key], [*cast("dict[str, Any]", definition)]
        other = others.get(key)
        if other is None or other.operation.op != node.operation.op:
            yield {("stem", key): None}
            continue
        before, after = fields_of(node), fields_of(other)
        changed = {name: value for name, value in after.items() if before.get(name, value) != value}
        if changed:
            yield {("stem", key, word, name): value for name, value in changed.items()}


def _head(data: Mapping[str, Any], own: Graph, graph: Graph) -> Iterator[Override]:
    """Another end: the layers after the last that both have, in place of the spec's."""
    names = {node.name for node in graph.nodes}
    common = [index for index, node in enumerate(graph.nodes) if node.name in own.by_name]
    layers = graph.nodes[common[-1] + 1 :] if common else ()
    head: Mapping[str, Any] = data.get("head") or {}
    changed: Override = {("head", key): None for key in head if key in own.by_name and key not in names}
    for node in layers:
        fields = dict(stated_fields(node))
        if node is graph.nodes[-1] and node.operation.op == "linear" and "classes" in data.get("parameters", {}):
            fields["features"] = "classes"
        changed["head", node.name] = {node.operation.op: fields} if fields else node.operation.op
    if changed:
        yield changed


def _stages(stages: Mapping[str, Any], pairs: list[tuple[Node, Node]]) -> Iterator[Override]:
    """Other widths of all stages that have them as numbers."""
    words = {word for stage in stages.values() for word, value in stage.items() if _is_number(value)}
    for word in sorted(words - {"repeat", "stride", "dilation"}):
        ratios = {key: _ratios([pair for pair in pairs if pair[0].name.startswith(f"{key}.")]) for key in stages}
        yield {
            ("stages", key, word): int(stage[word] * ratios[key][0])
            for key, stage in stages.items()
            if _is_number(stage.get(word)) and ratios[key]
        }
