"""Composes files into one document before validation: merges what ``extends`` names, and adds the blocks in use.

Everything becomes one document with the position of every key and value, so that an error can point into the file that
it comes from.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from resnet_spec.document.files import read
from resnet_spec.document.merge import merge
from resnet_spec.document.parser import Document, KeyPath, dotted, graft
from resnet_spec.errors import Problem, ResnetSpecError, SpecError, suggest
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.ranks import in_ranks_of
from resnet_spec.spec.renaming import KEY as RENAME
from resnet_spec.spec.renaming import renamed

EXTENDS = "extends"
NOT_INHERITED = ("name", "description", "source", "weights", "depth", "block")
"""Keys that describe one file's network or block, so that ``extends`` does not pass them on."""


def composed(path: Path, catalog: Catalog, problems: list[Problem] | None = None) -> Document:
    """A spec's file with what it extends and every block that it mentions.

    Mistakes in merging are raised as SpecError, or added to ``problems``.
    """
    return with_blocks(_extended(path, catalog, (), problems), catalog, problems)


def _extended(path: Path, catalog: Catalog, below: tuple[Path, ...], problems: list[Problem] | None) -> Document:
    """A file merged over the one it extends."""
    document = catalog.document(path) if catalog.owns(path) else read(path)
    resolved = path.resolve()
    if resolved in below:
        chain = " → ".join(file.name for file in (*below, resolved))
        raise SpecError(Problem(f"'extends' goes in a circle: {chain}"))
    if not isinstance(document.data, dict):
        raise SpecError(Problem("a spec is a mapping", position=document.position(())))
    document = _block_files(document, path, catalog)
    data = cast("dict[str, Any]", document.data)
    if "extends" not in data:
        return document
    base = data["extends"]
    if not isinstance(base, str):
        message = "must be a shipped spec's name or a file's path"
        raise SpecError(Problem(message, "extends", document.position(("extends",))))
    with located_at(document, ("extends",)):
        under = _extended(catalog.locate(base, path.parent), catalog, (*below, resolved), problems)
    return _over(document, under, problems)


def _over(document: Document, base: Document, problems: list[Problem] | None) -> Document:
    """A file or a block merged over the one it extends."""
    base = in_ranks_of(document, renamed(base, document))
    inherited = {key: value for key, value in base.data.items() if key not in NOT_INHERITED}
    own = {key: value for key, value in document.data.items() if key not in (EXTENDS, RENAME)}
    merged = merge(replace(base, data=inherited), replace(document, data=own), problems)
    # What is wrong in a shipped file is reported here, where its author's file inherits it.
    merged.values[EXTENDS,] = document.position((EXTENDS,))
    return merged


@contextmanager
def located_at(document: Document, path: KeyPath) -> Generator[None]:
    """Report a file that cannot be read, or fetched, at the value that names it."""
    try:
        yield
    except ResnetSpecError as error:
        if any(problem.position is not None for problem in error.problems):
            raise
        position = document.position(path)
        raise type(error)([Problem(p.message, dotted(path), position) for p in error.problems]) from None


def _block_files(document: Document, path: Path, catalog: Catalog) -> Document:
    """Replace ``blocks: {mine: mine.yaml}`` by what the file holds."""
    blocks = document.data.get("blocks")
    if not isinstance(blocks, dict):
        return document
    for name, value in cast("dict[str, Any]", blocks).items():
        if isinstance(value, str) and value.endswith(ENDINGS):
            with located_at(document, ("blocks", name)):
                block = read(catalog.locate(value, path.parent))
            document = add_block(document, name, block)
    return document


def with_blocks(document: Document, catalog: Catalog, problems: list[Problem] | None = None) -> Document:
    """Add the shipped blocks that a document mentions, and those that they mention.

    Mistakes in merging a block over the one that it extends are raised as SpecError, or added to ``problems``.
    """
    shipped = catalog.blocks()
    data = cast("dict[str, Any]", document.data)
    pending: list[Any] = [data]
    blocks = data.get("blocks")
    present: set[str] = set(cast("dict[str, Any]", blocks)) if isinstance(blocks, dict) else set()
    if "blocks" in data and not isinstance(blocks, dict):
        return document
    own = frozenset(present)
    while pending:
        for word in words(pending.pop(), networks=False):
            if word in shipped and word not in present:
                present.add(word)
                block = catalog.document(shipped[word])
                document = add_block(document, word, block)
                pending.append(block.data)
    for name in cast("dict[str, Any]", document.data.get("blocks", {})):
        document = _extended_block(document, name, (), shipped, problems)
    return _without_bases(document, own)


def _without_bases(document: Document, own: frozenset[str]) -> Document:
    """The document without shipped blocks that others only extend; a document's ``own`` blocks stay."""
    blocks = cast("dict[str, Any]", document.data.get("blocks", {}))
    pending: list[Any] = [{key: value for key, value in document.data.items() if key != "blocks"}]
    pending += [blocks[name] for name in own]
    used = set(own)
    while pending:
        for word in words(pending.pop(), networks=False):
            if word in blocks and word not in used:
                used.add(word)
                pending.append(blocks[word])
    if len(used) == len(blocks):
        return document
    return replace(document, data={**document.data, "blocks": {name: blocks[name] for name in blocks if name in used}})


def _extended_block(
    document: Document, name: str, below: tuple[str, ...], shipped: Iterable[str], problems: list[Problem] | None
) -> Document:
    """The document with one of its blocks merged over the block that it extends, another of the document's."""
    blocks = cast("dict[str, Any]", document.data["blocks"])
    if not isinstance(blocks[name], dict) or "extends" not in blocks[name]:
        return document
    base, path = blocks[name]["extends"], ("blocks", name, "extends")
    position = document.position(path)
    if not isinstance(base, str) or not isinstance(blocks.get(base), dict):
        raise SpecError(
            Problem(f"unknown block {base!r}{suggest(str(base), {*blocks, *shipped})}", dotted(path), position)
        )
    if base in (*below, name):
        chain = " → ".join((*below, name, base))
        raise SpecError(Problem(f"'extends' goes in a circle: {chain}", dotted(path), position))
    document = _extended_block(document, base, (*below, name), shipped, problems)
    found: list[Problem] = []
    try:
        block = _over(_block_document(document, name), _block_document(document, base), found)
        if found and problems is None:
            raise SpecError(found)
    except SpecError as error:
        raise SpecError([p._replace(path=f"blocks.{name}.{p.path}") for p in error.problems]) from None
    if problems is not None:
        problems += [problem._replace(path=f"blocks.{name}.{problem.path}") for problem in found]
    return add_block(document, name, block)


def _block_document(document: Document, name: str) -> Document:
    """One of a document's blocks as a document of its own."""
    target = Document(None, document.file, {}, {})
    path: KeyPath = ("blocks", name)
    return replace(target, data=graft(document.data["blocks"][name], document, path, target, ()))


def add_block(document: Document, name: str, block: Document) -> Document:
    """The document with a block's own file as one of its blocks, with that file's positions."""
    data = dict(document.data)
    data["blocks"] = {**data.get("blocks", {}), name: block.data}
    prefix: KeyPath = ("blocks", name)
    # A document has a position for each of its keys, and its file may not contain these two.
    known = {path: document.position(path) for path in (prefix[:1], prefix)}
    keys = known | document.keys | {(*prefix, *path): position for path, position in block.keys.items()}
    values = known | document.values | {(*prefix, *path): position for path, position in block.values.items()}
    return Document(data, document.file, keys, values)


def words(data: Any, *, networks: bool = True) -> Iterable[str]:
    """Every key and every text in plain data, any of which may name a block; those of networks in it are optional."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            mapping = cast("dict[str, Any]", item)
            yield from mapping
            # A network that is a part has its own blocks.
            stack += [value for key, value in mapping.items() if networks or key != "spec" or isinstance(value, str)]
        elif isinstance(item, list):
            stack.extend(cast("list[Any]", item))
