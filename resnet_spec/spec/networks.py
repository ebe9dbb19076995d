"""Networks as parts of others: finds the steps that name a spec, and puts the spec's content in place of its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from resnet_spec.document.parser import Document, KeyPath, dotted, graft, short
from resnet_spec.errors import Position, Problem, SpecError
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.extends import NOT_INHERITED, composed, located_at, with_blocks
from resnet_spec.spec.overriding import overridden

MAX_DEPTH = 10
"""The most networks within each other."""

MAX_NETWORKS = 100
MAX_VALUES = 1_000_000
"""The most networks within one, and values in them: a small file can name many, and each of these many again."""

_CHAINS: tuple[KeyPath, ...] = (
    *(("stem",), ("final",), ("head",)),
    *(("main",), ("after",), ("shortcut", "layers"), ("shortcut", "otherwise", "layers")),
)


def network_steps(data: Any) -> Iterator[KeyPath]:
    """The paths of the steps with ``spec`` in the chains of a spec, of its blocks, or of a block."""
    for path in _CHAINS:
        yield from _below(_at(data, path), path)
    blocks = _at(data, ("blocks",))
    for name, block in blocks.items():
        for path in _CHAINS[3:]:
            yield from _below(_at(block, path), ("blocks", name, *path))


def _below(chain: Mapping[str, Any], path: KeyPath) -> Iterator[KeyPath]:
    for name, step in chain.items():
        if isinstance(step, dict):
            if "spec" in step:
                yield (*path, name)
            yield from _below(_at(step, ("steps",)), (*path, name, "steps"))


def _at(data: Any, path: KeyPath) -> dict[str, Any]:
    """The mapping at a path, empty if there is none."""
    for key in path:
        data = cast("dict[str | int, Any]", data).get(key) if isinstance(data, dict) else None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


@dataclass
class _Budget:
    """How much the networks in one spec may still contain, however they are nested."""

    networks: int = MAX_NETWORKS
    values: int = MAX_VALUES

    def spend(self, document: Document) -> Document:
        self.networks -= 1
        self.values -= len(document.values)
        if self.networks < 0:
            raise SpecError(f"more than {MAX_NETWORKS:,} networks are parts of one")
        if self.values < 0:
            raise SpecError(f"the networks that are parts of this one have more than {MAX_VALUES:,} values")
        return document


def with_networks(document: Document, catalog: Catalog) -> Document:
    """The document with the content of each spec that a step names in place of the name.

    A path is relative to the folder of the file that names it; ``set`` is applied to the content.
    """
    return _with_networks(document, catalog, (), _Budget())


def _with_networks(document: Document, catalog: Catalog, around: tuple[Path, ...], budget: _Budget) -> Document:
    """The same within the files ``around``, of which this document is a part."""
    around = (*around, Path(document.file).resolve())
    for path in list(network_steps(document.data)):
        document = _with_network(document, path, catalog, around, budget)
    return document


def _with_network(
    document: Document, path: KeyPath, catalog: Catalog, around: tuple[Path, ...], budget: _Budget
) -> Document:
    step, where = _at(document.data, path), (*path, "spec")
    name, changes = step["spec"], step.get("set", {})
    if not isinstance(name, str | dict):
        # It is reported where the spec is validated.
        return document
    if not isinstance(changes, dict) or not all(isinstance(key, str) for key in cast("dict[Any, Any]", changes)):
        message = "must be a mapping from keys such as parameters.classes to values"
        raise SpecError(Problem(message, dotted((*path, "set")), document.position((*path, "set"))))
    with located_at(document, where):
        if isinstance(name, str):
            network = budget.spend(_content(document, where, name, catalog, around))
        else:
            network = replace(document, data=None, keys={}, values={})
            network = replace(network, data=graft(cast("Any", name), document, where, network, ()))
            network = budget.spend(with_blocks(network, catalog))
        if changes:
            network = _changed(network, cast("dict[str, Any]", changes), document, (*path, "set"), catalog)
        return _replaced(document, path, _with_networks(network, catalog, around, budget))


def _content(document: Document, where: KeyPath, name: str, catalog: Catalog, around: tuple[Path, ...]) -> Document:
    """What the file of a spec says of its network, composed."""
    file = Path(document.position(where).file)
    path = catalog.locate(name, (file if file.suffix in ENDINGS else Path(document.file)).parent)
    chain = (*around, path.resolve())
    if chain[-1] in around:
        raise SpecError(f"a network contains itself: {' → '.join(file.name for file in chain)}")
    if len(around) > MAX_DEPTH:
        raise SpecError(f"more than {MAX_DEPTH} networks are nested in each other")
    content = composed(path, catalog)
    data = {key: value for key, value in content.data.items() if key not in NOT_INHERITED}
    position, named = content.position(()), {"name": catalog.name(path)}
    known: dict[KeyPath, Any] = {("name",): position}
    return Document({**named, **data}, str(path), content.keys | known, content.values | known)


def _changed(
    network: Document, changes: dict[str, Any], document: Document, path: KeyPath, catalog: Catalog
) -> Document:
    """The content with values replaced, each with the position where the step writes it."""
    at = {f"overrides[{short(key, quote=True)}]": document.position((*path, key)) for key in changes}

    def written(position: Position) -> Position:
        return at.get(position.file, position)

    try:
        changed = overridden(network, changes)
    except SpecError as error:
        found = [p._replace(path=dotted((*path, p.path)), position=p.position) for p in error.problems]
        raise SpecError([p._replace(position=written(p.position)) if p.position else p for p in found]) from None
    keys = {each: written(position) for each, position in changed.keys.items()}
    values = {each: written(position) for each, position in changed.values.items()}
    return with_blocks(replace(changed, keys=keys, values=values), catalog)


def _replaced(document: Document, path: KeyPath, network: Document) -> Document:
    """The document with a step's spec replaced by its content."""
    where = (*path, "spec")
    result = document.copy()
    step = _at(result.data, path)
    step["spec"] = network.data
    step.pop("set", None)
    position = document.position(where)
    keys = {each: at for each, at in result.keys.items() if each[: len(path) + 1] != (*path, "set")}
    keys |= {(*where, *each): at for each, at in network.keys.items()}
    values = result.values | {(*where, *each): at for each, at in network.values.items()} | {where: position}
    return replace(result, keys=keys, values=values)
