"""Overrides of a spec: values replaced from outside, or by the step that makes a spec a part of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

from resnet_spec.document.overrides import assign
from resnet_spec.document.parser import Document
from resnet_spec.errors import Problem, SpecError, suggest
from resnet_spec.operations.registry import same_operation
from resnet_spec.spec.extends import words

_SECTIONS = (
    *("source", "input", "parameters", "layers", "blocks", "require", "initialization", "parameter_names"),
    *("stem", "stages", "final", "head"),
)

Overrides: TypeAlias = Mapping[str, Any] | Sequence[str]


def overridden(document: Document, overrides: Overrides) -> Document:
    """A spec's document with values replaced; what it states of its network is then not stated any more."""
    names = overrides if isinstance(overrides, Mapping) else [text.partition("=")[0] for text in overrides]
    sections = {name.partition(".")[0] for name in names if "." in name} & set(_SECTIONS)
    for section in sections - set(document.data):
        # A section that the file leaves at its defaults can be overridden like one that it has.
        document = with_key(document, section, {})
    changed = assign(document, overrides, same_operation)
    _check_parameters(changed, document.data.get("parameters"), names)
    data = dict(cast("dict[str, Any]", changed.data))
    # What the file states of its network need not hold for one changed from outside.
    if "depth" not in names:
        data.pop("depth", None)
    if isinstance(data.get("source"), dict) and "source.parameters" not in names:
        data["source"] = {key: value for key, value in data["source"].items() if key != "parameters"}
    return replace(changed, data=data)


def _check_parameters(changed: Document, before: Any, names: Iterable[str]) -> None:
    """Refuse a parameter that an override adds and nothing uses: its name is misspelled."""
    known: list[str] = list(cast("dict[str, Any]", before)) if isinstance(before, dict) else []
    mentioned = " ".join(words(changed.data))
    for name in names:
        section, _, parameter = name.partition(".")
        # One mention is the key itself.
        if section == "parameters" and parameter not in known and mentioned.count(parameter) < 2:
            path = ("parameters", parameter)
            message = f"nothing uses a parameter {parameter!r}{suggest(parameter, known)}"
            raise SpecError([Problem(message, "parameters", changed.locate(path, key=True))])


def with_key(document: Document, key: str, value: Any) -> Document:
    """The document with a top-level key that its file does not have, before the others."""
    position, path = document.position(()), (key,)
    keys, values = {**document.keys, path: position}, {**document.values, path: position}
    return Document({key: value, **document.data}, document.file, keys, values)
