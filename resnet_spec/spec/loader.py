"""From a name or a file to a Spec: files are composed, overrides are applied, and the result is validated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from resnet_spec.document.files import read, read_text
from resnet_spec.document.parser import Document, KeyPath, copied, parse
from resnet_spec.errors import Problem, SpecError
from resnet_spec.errors.validation import InvalidValue, invalid_values
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.dependencies import files
from resnet_spec.spec.extends import EXTENDS, RENAME, add_block, composed, with_blocks
from resnet_spec.spec.lowering import block_problems, name_problems
from resnet_spec.spec.networks import with_networks
from resnet_spec.spec.overriding import Overrides, overridden, with_key
from resnet_spec.spec.spec import Spec

FIGURES = Path(__file__).with_name("figures.json")
"""The parameters, multiply-accumulates and input of each shipped network, which `make figures` counts."""


def load(spec: str | Path, overrides: Overrides | None = None, *, catalog: Catalog | None = None) -> Spec:
    """Read and validate a spec.

    Args:
        spec: A shipped name (``resnet50``, ``keras/resnet50``), a path that ends in .yaml or .yml, or ``-`` for
            standard input.
        overrides: Values by dotted keys (``{"head.fc.linear.features": 10}``), or one or several ``KEY=VALUE``
            texts. They are validated like the file. A depth or a number of parameters that the file states is then not
            checked.
        catalog: The shipped specs and blocks, by default this package's.

    Returns:
        The spec with everything that it extends and every block that it uses.

    Raises:
        SpecError: With every mistake, each at its position.

    Examples:
        >>> import resnet_spec
        >>> spec = resnet_spec.load("resnet18", {"head.fc.linear.features": 10})
        >>> spec.to_graph().by_name["fc"].shape
        (10,)
        >>> resnet_spec.load("resnet18", ["stages.layer1.repeat=0"])
        Traceback (most recent call last):
        ...
        resnet_spec.errors.SpecError: override stages.layer1.repeat=0:1:1: stages.layer1.repeat: must be at least 1...
    """
    catalog = catalog or Catalog.shipped()
    # One text would be read letter by letter.
    overrides = [overrides] if isinstance(overrides, str) else overrides
    path = catalog.locate(spec)
    merging: list[Problem] = []
    try:
        document = composed(path, catalog, merging)
        if overrides:
            document = with_blocks(overridden(document, overrides), catalog)
        document = with_networks(document, catalog)
        if "name" not in document.data:
            document = with_key(document, "name", catalog.name(path))
        loaded = _validated(document, overridden=bool(overrides))
    except SpecError as error:
        raise SpecError([*merging, *error.problems]) from None
    if merging:
        raise SpecError(merging)
    return loaded


def with_overrides(spec: Spec, overrides: Overrides, *, catalog: Catalog | None = None) -> Spec:
    """A loaded spec with values replaced, as ``load`` does it, without reading its files again."""
    overrides = [overrides] if isinstance(overrides, str) else overrides
    document = spec._document or parse(spec.to_yaml(), spec.name)  # pyright: ignore[reportPrivateUsage]
    catalog = catalog or Catalog.shipped()
    document = with_networks(with_blocks(overridden(document, overrides), catalog), catalog)
    return _validated(document, overridden=True)


def load_base(path: Path, *, catalog: Catalog | None = None) -> Spec | None:
    """The spec that a file extends; None if it extends none. Raises SpecError if either is wrong."""
    catalog = catalog or Catalog.shipped()
    data = (catalog.document(path) if catalog.owns(path) else read(path)).data
    base = cast("dict[str, Any]", data).get(EXTENDS) if isinstance(data, dict) else None
    return load(catalog.locate(base, path.parent), catalog=catalog) if isinstance(base, str) else None


# -- validation --------------------------------------------------------------------------------------------------


def _validated(document: Document, *, overridden: bool) -> Spec:
    try:
        return _spec(document, overridden=overridden)
    except ValidationError as error:
        invalid = _invalid(error, document)
    problems = [each.problem(document.locate) for each in invalid]
    found = _further_problems(document, [each.path for each in invalid])
    raise SpecError(problems + [problem for problem in found if problem not in problems])


def _invalid(error: ValidationError, document: Document) -> list[InvalidValue]:
    def keys(path: KeyPath) -> list[str]:
        # The files' key that composing them has used up.
        return [EXTENDS, RENAME] if path == () or (len(path) == 2 and path[0] == "blocks") else []

    return invalid_values(error, document.data, Spec, keys)


def _further_problems(document: Document, mistakes: list[KeyPath]) -> list[Problem]:
    """What else is wrong: a misspelled key must not hide an unknown block further on."""
    if any(path[-1:] in _DEFINING for path in mistakes):
        # Whatever they define would look unknown.
        return []
    rest = copied(document.data)
    for path in mistakes:
        _remove(rest, path)
    try:
        spec = _spec(replace(document, data=rest), overridden=False)
    except ValidationError:
        return []
    found = name_problems(spec, spec.position)
    # What was removed must not look unknown where it is used.
    removed = [repr(str(path[-1])) for path in mistakes if path]
    return [problem for problem in found if not any(word in problem.message for word in removed)]


_DEFINING = (("layers",), ("blocks",), ("parameters",))


def _spec(document: Document, *, overridden: bool) -> Spec:
    spec = Spec.model_validate(document.data)
    spec._document = document  # pyright: ignore[reportPrivateUsage]
    spec._overridden = overridden  # pyright: ignore[reportPrivateUsage]
    return spec


def _remove(data: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        if not isinstance(data, dict) or part not in data:
            return
        data = cast("dict[str | int, Any]", data)[part]
    if path and isinstance(data, dict):
        cast("dict[str | int, Any]", data).pop(path[-1], None)


# -- looking at files --------------------------------------------------------------------------------------------


def source_text(spec: str | Path, *, catalog: Catalog | None = None) -> str:
    """The text of a spec's file, or of a shipped block's, which ``show`` prints too."""
    catalog = catalog or Catalog.shipped()
    path = catalog.blocks().get(str(spec)) or catalog.locate(spec)
    read(path)
    return read_text(path).removeprefix("\ufeff")


def check_block(path: Path, *, catalog: Catalog | None = None) -> None:
    """Check a block's own file as strictly as a spec that uses it; raises SpecError with every problem.

    It may use layers that the shipped specs define, such as ``norm``, or specs that refer to it from its folder or from
    the one above.
    """
    catalog = catalog or Catalog.shipped()
    block = read(path)
    data: object = block.data
    base = cast("dict[str, Any]", data).get("extends") if isinstance(data, dict) else None
    if isinstance(base, str) and base not in catalog.blocks():
        # It extends a block of the specs that use it, and only those have it.
        return
    # Its mistakes are reported as in a spec whose only block it is.
    document = with_blocks(add_block(parse("{stem: {only: relu}}", str(path)), "this", block), catalog)
    document = with_networks(document, catalog)
    try:
        spec = _spec(document, overridden=False)
    except ValidationError as error:
        problems = [invalid.problem(document.locate) for invalid in _invalid(error, document)]
        raise SpecError(map(_in_block, problems)) from None
    layers: list[set[str]] = []

    def expected(kind: str) -> bool:
        # Files are read only for a block that needs another layer than its own.
        if not layers:
            layers.append({*_defined_layers(catalog), *_layers_around(path, catalog)})
        return kind in layers[0]

    if problems := block_problems(spec, spec.position, expected):
        raise SpecError(map(_in_block, problems))


def _in_block(problem: Problem) -> Problem:
    """A problem of a block in a spec, by the path in the block's own file."""
    return problem._replace(path=problem.path.removeprefix("blocks.this").removeprefix("."))


def _defined_layers(catalog: Catalog) -> Iterator[str]:
    """The layers and blocks that shipped specs define."""
    for name in catalog.names():
        data = catalog.document(catalog.find(name)).data
        yield from (*data.get("layers", {}), *data.get("blocks", {}))


def _layers_around(block: Path, catalog: Catalog) -> Iterator[str]:
    """The layers and blocks of the specs in a block's folder, or in the one above, that refer to the block."""
    here = block.resolve()
    for folder in (here.parent, here.parent.parent):
        for path in sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path != here):
            with suppress(SpecError, OSError):
                if here in {file.resolve() for file in files(path)}:
                    data = composed(path, catalog).data
                    defined: list[object] = [data.get("layers"), data.get("blocks")]
                    for names in defined:
                        yield from cast("dict[str, Any]", names) if isinstance(names, dict) else ()


def headings(*, catalog: Catalog | None = None) -> dict[str, dict[str, Any]]:
    """What a list of the shipped specs says of each, by its name; nothing is composed or lowered for it.

    ``parameters``, ``macs`` and ``input`` (channels first) are those of the network as it is shipped, and ``top1`` is
    the best accuracy of its published weights, in percent of ImageNet's validation images.
    """
    catalog = catalog or Catalog.shipped()
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = {}
    for name in catalog.names():
        data = catalog.document(catalog.find(name)).data
        files: Iterable[dict[str, Any]] = data.get("weights", {}).values()
        accuracies = [file.get("accuracy", {}).get("top1", 0) for file in files]
        row = {"description": data.get("description", ""), "parameters": None, "macs": None, "input": None}
        rows[name] = row | figures.get(name, {}) | {"top1": max(accuracies, default=0) or None}
    return rows


def block_descriptions(*, catalog: Catalog | None = None) -> list[tuple[str, str]]:
    """The names of the shipped blocks, sorted, with their descriptions."""
    catalog = catalog or Catalog.shipped()
    return [(name, catalog.document(path).data.get("description", "")) for name, path in catalog.blocks().items()]
