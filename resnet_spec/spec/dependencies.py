"""Finds what a YAML file contains and which files it depends on, without validation, so that invalid files count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Literal, cast

from resnet_spec.document.files import read, read_text
from resnet_spec.errors import SpecError
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.extends import words
from resnet_spec.spec.models import Block, Network
from resnet_spec.spec.networks import network_steps

Kind = Literal["spec", "block"]

CHAINS = ("stem", "stages", "final", "head")
"""The keys of a spec's layers, of which a spec without ``extends`` has at least one."""

_OF_SPECS = {*Network.model_fields, "extends"}
_OF_BLOCKS = set(Block.model_fields) - _OF_SPECS
_BEGINS_LIKE_A_SPEC = re.compile(rf"^({'|'.join(CHAINS)}|extends):", re.MULTILINE)


def kind(path: Path) -> Kind | None:
    """Whether a file contains a spec or a block; None for other YAML, which a folder may contain too.

    A file that is not valid YAML counts as a spec if it begins like one, so that its error is reported. Raises
    SpecError if it cannot be read.
    """
    try:
        data = _data(path, Catalog.shipped())
    except SpecError:
        if _begins_like_a_spec(path):
            return "spec"
        raise
    if any(isinstance(data.get(key), dict) for key in CHAINS):
        return "spec"
    if not _OF_BLOCKS.isdisjoint(data):
        return "block"
    base = data.get("extends")
    if not isinstance(base, str):
        return None
    if base in Catalog.shipped().blocks():
        return "block"
    return "spec" if base.endswith(ENDINGS) or _is_shipped(base) or _OF_SPECS.issuperset(data) else None


def check_kind(path: Path) -> None:
    """Raise SpecError if a file has none of the language's keys, which says more than that each key is unknown."""
    data = _data(path, Catalog.shipped())
    if data and (_OF_SPECS | _OF_BLOCKS).isdisjoint(data):
        keys = ", ".join((*CHAINS, "extends"))
        raise SpecError(f"{path}: neither a spec, which has one of {keys}, nor a block, which has main")


def files(path: Path) -> list[Path]:
    """The files that a spec depends on, its own first: by ``extends``, by ``blocks``, and the shipped blocks.

    A file that cannot be read is included, but its dependencies are unknown.
    """
    catalog = Catalog.shipped()
    found: dict[Path, Path] = {}
    pending = [path]
    while pending:
        file = pending.pop()
        # Resolved, since circular references may make a path longer each time.
        if file.resolve() not in found:
            found[file.resolve()] = file
            try:
                pending.extend(_references(file, _data(file, catalog), catalog))
            except SpecError:
                continue
    return list(found.values())


def _references(path: Path, data: dict[str, Any], catalog: Catalog) -> Iterator[Path]:
    base, blocks = data.get("extends"), data.get("blocks")
    if isinstance(base, str):
        if base.endswith(ENDINGS):
            yield path.parent / base
        elif _is_shipped(base):
            yield catalog.find(base)
    for block in cast("dict[str, Any]", blocks).values() if isinstance(blocks, dict) else ():
        if isinstance(block, str) and block.endswith(ENDINGS):
            yield path.parent / block
    for step in network_steps(data):
        name: Any = reduce(lambda value, key: value[key], (*step, "spec"), cast("Any", data))
        if isinstance(name, str) and name.endswith(ENDINGS):
            yield path.parent / name
        elif isinstance(name, str) and _is_shipped(name):
            yield catalog.find(name)
    shipped = catalog.blocks()
    yield from (shipped[word] for word in words(data) if word in shipped)


def _data(path: Path, catalog: Catalog) -> dict[str, Any]:
    document = catalog.document(path) if catalog.owns(path) else read(path)
    data: object = document.data
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _begins_like_a_spec(path: Path) -> bool:
    try:
        text = read_text(path)
    except SpecError:
        return False
    return _BEGINS_LIKE_A_SPEC.search(text) is not None


def _is_shipped(name: str) -> bool:
    try:
        Catalog.shipped().find(name)
    except SpecError:
        return False
    return True
