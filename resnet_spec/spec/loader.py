"""From a name or a file to a Spec: ``extends``, overrides and blocks are brought together, then checked.

Everything becomes one document with the position of every word before pydantic sees it, so that an error can point
into whichever file it came from.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from resnet_spec.document.merge import assign, merge
from resnet_spec.document.parser import Document, KeyPath, dotted, graft, parse, read
from resnet_spec.errors import Position, Problem, SpecError, plain, shown, suggest
from resnet_spec.graph import Input
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.lowering import name_problems
from resnet_spec.spec.models import Block, Identity, Network, Shortcut, Source
from resnet_spec.spec.published import Accuracy, Preprocessing, Published
from resnet_spec.spec.spec import Spec

OWN = ("name", "description", "source", "weights", "depth", "block")
"""Keys that tell of one file's network or block, so that ``extends`` does not hand them on."""

_SECTIONS = (
    *("source", "input", "parameters", "layers", "blocks", "require", "initialization"),
    *("stem", "stages", "final", "head"),
)

Overrides = Mapping[str, Any] | Sequence[str]


def load(spec: str | Path, overrides: Overrides | None = None, *, catalog: Catalog | None = None) -> Spec:
    """Read a spec.

    ``spec`` is a shipped name (``resnet50``, ``keras/resnet50``) or a path that ends in .yaml or .yml. ``overrides``
    maps dotted paths to values, or is one or several ``KEY=VALUE`` texts; they are validated like the file, and a
    stated depth or number of parameters is then no longer checked. Raises SpecError with every mistake.
    """
    catalog = catalog or Catalog.shipped()
    # One text would be read letter by letter.
    overrides = [overrides] if isinstance(overrides, str) else overrides
    path = _path(spec, catalog)
    document = _extended(path, catalog, ())
    document = _with_blocks(document, catalog)
    if overrides:
        document = _with_blocks(_overridden(document, overrides), catalog)
    data: dict[str, Any] = document.data
    if "name" not in data:
        document = replace(document, data={"name": catalog.name(path)} | data)
    loaded = _validated(document)
    loaded._overridden = bool(overrides)  # pyright: ignore[reportPrivateUsage]
    return loaded


def _path(spec: str | Path, catalog: Catalog) -> Path:
    if isinstance(spec, Path) or spec.endswith(ENDINGS):
        return Path(spec)
    return catalog.find(spec)


def _extended(path: Path, catalog: Catalog, below: tuple[Path, ...]) -> Document:
    """A file merged over the one it extends."""
    document = catalog.document(path) if catalog.owns(path) else read(path)
    resolved = path.resolve()
    if resolved in below:
        chain = " → ".join(file.name for file in (*below, resolved))
        raise SpecError(Problem(f"'extends' goes in a circle: {chain}"))
    if not isinstance(document.data, dict):
        raise SpecError(Problem("a spec is a mapping", position=document.position(())))
    document = _block_files(document, path)
    data = cast("dict[str, Any]", document.data)
    if "extends" not in data:
        return document
    base = data["extends"]
    if not isinstance(base, str):
        message = "must be a shipped spec's name or a file's path"
        raise SpecError(Problem(message, "extends", document.position(("extends",))))
    with _told_at(document, ("extends",)):
        source = path.parent / base if base.endswith(ENDINGS) else catalog.find(base)
        under = _extended(source, catalog, (*below, resolved))
    return _over(document, under)


def _over(document: Document, base: Document) -> Document:
    """A file or a block merged over the one it extends."""
    inherited = {key: value for key, value in base.data.items() if key not in OWN}
    own = {key: value for key, value in document.data.items() if key != "extends"}
    return merge(replace(base, data=inherited), replace(document, data=own))


@contextmanager
def _told_at(document: Document, path: KeyPath) -> Generator[None]:
    """A file that cannot be read has no place of its own to be told at, but for the one that names it."""
    try:
        yield
    except SpecError as error:
        if any(problem.position is not None for problem in error.problems):
            raise
        position = document.position(path)
        raise SpecError([Problem(p.message, dotted(path), position) for p in error.problems]) from None


def _overridden(document: Document, overrides: Overrides) -> Document:
    names = overrides if isinstance(overrides, Mapping) else [text.partition("=")[0] for text in overrides]
    sections = {name.partition(".")[0] for name in names if "." in name} & set(_SECTIONS)
    for section in sections - set(document.data):
        # Left at its defaults by the file, it can be overridden like one that is written.
        document = _entered(document, section)
    changed = assign(document, overrides)
    _check_parameters(changed, document.data.get("parameters"), names)
    data = dict(cast("dict[str, Any]", changed.data))
    # What the file states of itself is true of the file, not of a network changed from outside.
    if "depth" not in names:
        data.pop("depth", None)
    if isinstance(data.get("source"), dict) and "source.parameters" not in names:
        data["source"] = {key: value for key, value in data["source"].items() if key != "parameters"}
    return replace(changed, data=data)


def _check_parameters(changed: Document, before: Any, names: Iterable[str]) -> None:
    """Refuse a parameter that an override adds and that nothing mentions: its name is misspelled."""
    known: list[str] = list(cast("dict[str, Any]", before)) if isinstance(before, dict) else []
    mentioned = " ".join(words(changed.data))
    for name in names:
        section, _, parameter = name.partition(".")
        # Once as the key itself.
        if section == "parameters" and parameter not in known and mentioned.count(parameter) < 2:
            path = ("parameters", parameter)
            message = f"nothing uses a parameter {parameter!r}{suggest(parameter, known)}"
            raise SpecError([Problem(message, "parameters", _key_position(changed, path))])


# -- blocks ------------------------------------------------------------------------------------------------------


def _block_files(document: Document, path: Path) -> Document:
    """Replace ``blocks: {mine: mine.yaml}`` by what the file holds."""
    blocks = document.data.get("blocks")
    if not isinstance(blocks, dict):
        return document
    for name, value in cast("dict[str, Any]", blocks).items():
        if isinstance(value, str) and value.endswith(ENDINGS):
            with _told_at(document, ("blocks", name)):
                block = read(path.parent / value)
            document = _graft(document, name, block)
    return document


def _with_blocks(document: Document, catalog: Catalog) -> Document:
    """Bring in the shipped blocks that a document mentions, and those that they mention."""
    shipped = catalog.blocks()
    data = cast("dict[str, Any]", document.data)
    pending: list[Any] = [data]
    blocks = data.get("blocks")
    present: set[str] = set(cast("dict[str, Any]", blocks)) if isinstance(blocks, dict) else set()
    if "blocks" in data and not isinstance(blocks, dict):
        return document
    while pending:
        for word in words(pending.pop()):
            if word in shipped and word not in present:
                present.add(word)
                block = catalog.document(shipped[word])
                document = _graft(document, word, block)
                pending.append(block.data)
    for name in cast("dict[str, Any]", document.data.get("blocks", {})):
        document = _extended_block(document, name, (), shipped)
    return document


def _extended_block(document: Document, name: str, below: tuple[str, ...], shipped: Iterable[str]) -> Document:
    """The document with one of its blocks merged over the block that it extends, another of the document's."""
    blocks = cast("dict[str, Any]", document.data["blocks"])
    if not isinstance(blocks[name], dict) or "extends" not in blocks[name]:
        return document
    base, path = blocks[name]["extends"], ("blocks", name, "extends")
    place = document.position(path)
    if not isinstance(base, str) or not isinstance(blocks.get(base), dict):
        raise SpecError(
            Problem(f"unknown block {base!r}{suggest(str(base), {*blocks, *shipped})}", dotted(path), place)
        )
    if base in (*below, name):
        chain = " → ".join((*below, name, base))
        raise SpecError(Problem(f"'extends' goes in a circle: {chain}", dotted(path), place))
    document = _extended_block(document, base, (*below, name), shipped)
    try:
        block = _over(_block_document(document, name), _block_document(document, base))
    except SpecError as error:
        raise SpecError([p._replace(path=f"blocks.{name}.{p.path}") for p in error.problems]) from None
    return _graft(document, name, block)


def _block_document(document: Document, name: str) -> Document:
    """One of a document's blocks as a document of its own."""
    target = Document(None, document.file, {}, {})
    path: KeyPath = ("blocks", name)
    return replace(target, data=graft(document.data["blocks"][name], document, path, target, ()))


def _entered(document: Document, section: str) -> Document:
    place, path = document.position(()), (section,)
    data: dict[str, Any] = {**document.data, section: {}}
    return Document(data, document.file, {**document.keys, path: place}, {**document.values, path: place})


def _graft(document: Document, name: str, block: Document) -> Document:
    """The document with a block's own file as one of its blocks, each word still known by that file's place."""
    data = dict(document.data)
    data["blocks"] = {**data.get("blocks", {}), name: block.data}
    prefix: KeyPath = ("blocks", name)
    # A document knows a place for each of its keys, and these two the file itself may not have.
    known = {path: document.position(path) for path in (prefix[:1], prefix)}
    keys = known | document.keys | {(*prefix, *path): place for path, place in block.keys.items()}
    values = known | document.values | {(*prefix, *path): place for path, place in block.values.items()}
    return Document(data, document.file, keys, values)


def words(data: Any) -> Iterable[str]:
    """Every key and every text in plain data: what may name a block."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            mapping = cast("dict[str, Any]", item)
            yield from mapping
            stack.extend(mapping.values())
        elif isinstance(item, list):
            stack.extend(cast("list[Any]", item))


# -- checking ----------------------------------------------------------------------------------------------------


def _validated(document: Document) -> Spec:
    try:
        return _spec(document)
    except ValidationError as error:
        items = error.errors()
    problems = [_problem(item, document) for item in items]
    found = _further_problems(document, [_known_path(item["loc"], document.data) for item in items])
    raise SpecError(problems + [problem for problem in found if problem not in problems])


def _further_problems(document: Document, mistakes: list[KeyPath]) -> list[Problem]:
    """What else is wrong: a misspelled key must not hide an unknown block further on."""
    if any(path[-1:] in _DEFINING for path in mistakes):
        # Whatever they define would look unknown.
        return []
    rest = copy.deepcopy(document.data)
    for path in mistakes:
        _cut(rest, path)
    try:
        found = name_problems(_spec(replace(document, data=rest)))
    except ValidationError:
        return []
    # Nor must what was cut out look unknown where it is used.
    cut = [repr(str(path[-1])) for path in mistakes if path]
    return [problem for problem in found if not any(word in problem.message for word in cut)]


_DEFINING = (("layers",), ("blocks",), ("parameters",))


def _spec(document: Document) -> Spec:
    spec = Spec.model_validate(document.data)
    spec._document = document  # pyright: ignore[reportPrivateUsage]
    return spec


def _known_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """The part of pydantic's location that stands in the data: models, unions and aliases add parts of their own."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = cast("dict[str | int, Any]", data)[part]
            path.append(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(cast("list[Any]", data)):
            data = cast("list[Any]", data)[part]
            path.append(part)
    return tuple(path)


def _cut(data: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        if not isinstance(data, dict) or part not in data:
            return
        data = cast("dict[str | int, Any]", data)[part]
    if path and isinstance(data, dict):
        cast("dict[str | int, Any]", data).pop(path[-1], None)


def _problem(item: Any, document: Document) -> Problem:
    """One of pydantic's errors, in our words and in its place."""
    path = _known_path(item["loc"], document.data)
    kind, text = item["type"], plain(item["msg"])
    where = ".".join(map(str, path))
    if kind == "extra_forbidden":
        key = str(path[-1])
        known = _keys_at(path[:-1])
        hint = suggest(key, known) or (f" (known: {', '.join(known)})" if known else "")
        return Problem(f"unknown key {key!r}{hint}", ".".join(map(str, path[:-1])), _key_position(document, path))
    if kind == "missing":
        return Problem(f"needs {item['loc'][-1]!r}", where, _key_position(document, path))
    if kind == "value_error":
        return Problem(str(item["ctx"]["error"]), where, document.position(path))
    if item["loc"] and item["loc"][-1] == "[key]":
        path = _known_path(item["loc"][:-1], document.data)
        return Problem(f"{item['input']!r} is not a name here: {text}", where, _key_position(document, path))
    return Problem(f"{text}, not {shown(item['input'])}", where, document.position(path))


def _key_position(document: Document, path: KeyPath) -> Position:
    return document.keys.get(path) or document.position(path)


def _keys_at(path: KeyPath) -> list[str]:
    """The keys of the language that may stand in the mapping at a path."""
    models: dict[str, type[BaseModel]] = {
        "input": Input,
        "source": Source,
        "shortcut": Shortcut,
        "otherwise": Identity,
        "accuracy": Accuracy,
        "preprocessing": Preprocessing,
    }
    named: dict[str, type[BaseModel]] = {"blocks": Block, "weights": Published}
    if not path:
        return [*Network.model_fields, "extends"]
    model = named.get(str(path[0])) if len(path) == 2 else models.get(str(path[-1]))
    return [info.alias or name for name, info in model.model_fields.items()] if model else []


# -- looking at files --------------------------------------------------------------------------------------------


def source_text(spec: str | Path, *, catalog: Catalog | None = None) -> str:
    """A spec's file as it stands."""
    path = _path(spec, catalog or Catalog.shipped())
    read(path)
    return path.read_text(encoding="utf-8-sig")


def check_block(path: Path, *, catalog: Catalog | None = None) -> None:
    """Check a block's own file as far as that can be done without a spec that uses it; raises SpecError."""
    catalog = catalog or Catalog.shipped()
    block = read(path)
    data: object = block.data
    base = cast("dict[str, Any]", data).get("extends") if isinstance(data, dict) else None
    if isinstance(base, str) and base not in catalog.blocks():
        # Another block of the specs that use this one, which alone know it.
        return
    # Its mistakes are told as in a spec, of which it is the only block.
    document = _with_blocks(_graft(parse("{stem: {only: relu}}", str(path)), "this", block), catalog)
    try:
        _spec(document)
    except ValidationError as error:
        raise SpecError([_problem(item, document) for item in error.errors()]) from None


def headings(*, catalog: Catalog | None = None) -> dict[str, dict[str, Any]]:
    """What each shipped spec says of itself, by name: its description and its number of parameters."""
    catalog = catalog or Catalog.shipped()
    rows: dict[str, dict[str, Any]] = {}
    for name in catalog.names():
        data = catalog.document(catalog.find(name)).data
        parameters = data.get("source", {}).get("parameters")
        rows[name] = {"description": data.get("description", ""), "parameters": parameters}
    return rows
