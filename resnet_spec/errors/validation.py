"""Turns pydantic's errors, unknown keys among them, into problems with a position, in the words of YAML.

Every type of error that a model of this package can raise has a row in ``_MESSAGES``; a test walks the models' schemas
to hold the table to them.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from resnet_spec.errors.exceptions import KeyPath, Locate, Position, Problem, shown, suggest, suggest_spelling

MAX_KNOWN = 24
"""The most keys that a message lists."""

_PATTERNS: dict[str, str] = {}
"""What each pattern of the models demands, in words."""


def matching(pattern: str, words: str) -> Any:
    """A field's metadata: text must match ``pattern``, which ``words`` describe after "must be"."""
    _PATTERNS[pattern] = words
    return Field(pattern=pattern)


class Frozen(BaseModel):
    """Base of the models of this package: immutable, and without other keys than its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _nowhere(path: KeyPath, *, key: bool = False) -> Position | None:
    return None


class InvalidValue(NamedTuple):
    """A value, or a key, that a model rejects: its path in the data, pydantic's type of error, and what is wrong."""

    path: KeyPath
    kind: str
    text: str
    value: Any
    is_key: bool = False
    missing: str = ""
    """The key that the value lacks, if that is what is wrong."""

    @property
    def message(self) -> str:
        """What is wrong and, unless that says it, the value."""
        complete = self.is_key or self.kind in {"missing", "value_error", "union_tag_invalid"}
        return self.text if complete else f"{self.text}, not {shown(self.value)}"

    def problem(self, locate: Locate = _nowhere) -> Problem:
        """The mistake as a problem, at the position that ``locate`` finds."""
        where = self.path[:-1] if self.kind == "extra_forbidden" else self.path
        at_key = self.is_key or self.kind == "missing"
        return Problem(self.message, ".".join(map(str, where)), locate(self.path, key=at_key))


Keys: TypeAlias = Callable[[KeyPath], list[str]]


def invalid_values(
    error: ValidationError, data: Any, model: type[BaseModel], more_keys: Keys = lambda _: []
) -> list[InvalidValue]:
    """Every mistake of ``data``, once each; ``more_keys`` are accepted at a path besides those of ``model``.

    Where a value may be of several types, pydantic has an error for each. Of these the ones that say most are kept:
    those inside the value, then those about its size or its form, and only then that it is of none of the types.
    """

    def keys(path: KeyPath) -> list[str]:
        return [*keys_at(model, path, data), *more_keys(path)]

    found = [_invalid(item, data, keys) for item in error.errors()]
    short = Counter(each.path for each in found if each.kind == _TOO_FEW)
    found = [each._replace(text=_lengths(each, short[each.path])) if each.kind == _TOO_FEW else each for each in found]
    kept: dict[tuple[KeyPath, bool], list[InvalidValue]] = {}
    for each in found:
        if not (each.kind in _TYPES and any(_says_more(other, each) for other in found)):
            kept.setdefault((each.path, each.is_key), []).append(each)
    return [merged for group in kept.values() for merged in _merged(group)]


def _says_more(other: InvalidValue, than: InvalidValue) -> bool:
    inside = len(other.path) > len(than.path) and other.path[: len(than.path)] == than.path
    return inside or (other.path == than.path and other.is_key == than.is_key and other.kind not in _TYPES)


def _merged(group: list[InvalidValue]) -> list[InvalidValue]:
    """One mistake for a value that is of none of several types."""
    if any(each.kind not in _TYPES for each in group):
        return list({each.message: each for each in group}.values())
    wanted = dict.fromkeys(each.text.removeprefix("must be ") for each in group)
    return [group[0]._replace(text=f"must be {' or '.join(wanted)}")]


def _invalid(item: Any, data: Any, keys: Keys) -> InvalidValue:
    loc, kind, value, context = item["loc"], item["type"], item["input"], item.get("ctx", {})
    path = known_path(loc, data)
    if kind == "extra_forbidden":
        known = keys(path[:-1])
        hint = suggest(str(path[-1]), known)
        if not hint and known and len(known) <= MAX_KNOWN:
            hint = f" (known: {', '.join(known)})"
        return InvalidValue(path, kind, f"unknown key {str(path[-1])!r}{hint}", value, is_key=True)
    if kind == "missing":
        if isinstance(loc[-1], int):
            return InvalidValue(path, _TOO_FEW, "", value)
        return InvalidValue(path, kind, f"needs {loc[-1]!r}", value, missing=str(loc[-1]))
    text = _text(kind, context)
    if loc and loc[-1] == "[key]":
        path = known_path(loc[:-1], data)
        return InvalidValue(path, kind, f"{value!r} is not a valid key: {text}", value, is_key=True)
    return InvalidValue(path, kind, text, value)


def _lengths(short: InvalidValue, missing: int) -> str:
    return f"must have {len(short.value) + missing} values"


def _text(kind: str, context: dict[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"must be {_PATTERNS.get(context['pattern'], 'text that matches ' + repr(context['pattern']))}"
    if kind == "union_tag_invalid":
        tags = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        name = context["discriminator"].strip("'")
        return f"unknown {name} {context['tag']!r}{suggest_spelling(context['tag'], tags)}"
    # Bounds of numbers are written as people write them: 1, not 1.0.
    words = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
    if kind in ("too_long", "too_short"):
        length = words["max_length" if kind == "too_long" else "min_length"]
        return f"must have at {'most' if kind == 'too_long' else 'least'} {length} value{'s' * (length != 1)}"
    return _MESSAGES.get(kind, "is not valid ({kind})").format(kind=kind, **words)


_TOO_FEW = "too_few_values"
"""Our own type for a list from which values are missing, which pydantic reports one by one."""

_MESSAGES = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "extra_forbidden": "is not known here",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "json_invalid": "must be valid JSON",
    "json_type": "must be JSON",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "recursion_loop": "contains itself",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be text",
    "string_unicode": "must be text that Unicode can represent",
    "too_long": "must have at most {max_length} values",
    "too_short": "must have at least {min_length} values",
    "tuple_type": "must be a list",
    "union_tag_invalid": "unknown {discriminator} {tag}",
    "union_tag_not_found": "needs {discriminator}",
    "value_error": "{error}",
}

_TYPES = frozenset(kind for kind in _MESSAGES if kind.endswith(("_type", "_parsing"))) | {
    "int_from_float",
    "literal_error",
}
"""Errors that say only that a value is not of one type."""


# -- paths and keys ----------------------------------------------------------------------------------------------


def known_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """The part of pydantic's location that exists in the data: models and unions add parts of their own."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = cast("dict[str | int, Any]", data)[part]
            path.append(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(cast("list[Any]", data)):
            data = cast("list[Any]", data)[part]
            path.append(part)
    return tuple(path)


def keys_at(model: type[BaseModel], path: KeyPath, data: Any = None) -> list[str]:
    """The keys that a model accepts in the mapping at a path; those of one operation where ``data`` says which."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for annotation in annotations for inner in _inside(annotation, part)]
        data = _at(data, part)
    models = [each for annotation in annotations for each in _models(annotation)]
    return list(dict.fromkeys(key for each in models if _is_meant(each, data) for key in _fields(each)))


def _at(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (TypeError, LookupError):
        return None


def _is_meant(model: type[BaseModel], data: Any) -> bool:
    """Whether data may be meant for a model: no field of one word has another, and it has the operation's name."""
    values = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    words = {key: get_args(field) for key, field in _fields(model).items() if get_origin(field) is Literal}
    decisive = {key for key in words.keys() & values.keys() if len(words[key]) == 1 or key == "op"}
    return all(values[key] in words[key] for key in decisive)


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:
    """The annotations of the values that a key or an index of a value leads to."""
    for model in _models(annotation):
        yield from (field for name, field in _fields(model).items() if name == part)
    for each in _alternatives(annotation):
        arguments = get_args(each)
        if get_origin(each) is dict:
            yield arguments[1]
        elif get_origin(each) in (tuple, list) and isinstance(part, int):
            yield arguments[part] if part < len(arguments) and arguments[-1] is not ... else arguments[0]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a value may be of."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif hasattr(annotation, "__metadata__"):
        yield from _alternatives(get_args(annotation)[0])
    elif isinstance(annotation, type) and issubclass(annotation, RootModel):
        yield from _alternatives(annotation.model_fields["root"].annotation)
    else:
        yield annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}
