"""Names every tensor in the data of a pickle by its path: keys, positions and attributes, joined by dots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.paddle import unwrapped
from resnet_spec.weights.formats.pickles import Key, Object, is_mapping, is_sequence
from resnet_spec.weights.formats.stored_tensors import Tensor

MAX_WORK = 2**21
"""The most containers, in a unit of time of a few microseconds: shared ones have more paths than there are objects."""

MAX_DEPTH = 500
"""The most parts of a tensor's name."""

MAX_LENGTH = 2**12
"""The most characters of a tensor's name."""

MAX_KEYS = 8
"""The most parts of a key that is a tuple."""

PROGRAM = "__torch__."
"""What the names of a TorchScript program's classes start with."""

_STATE_DICT, _TEMPORARY = ("_parameters", "_buffers", "_modules"), "_non_persistent_buffers_set"
"""Attributes of a module: what its state_dict has, in its order, and the names of the buffers that it omits."""

# Tuples, since a union would be created at every use.
_CONTAINERS = (dict, list, tuple, Object)
_ENTERED = (Tensor, *_CONTAINERS)


class Named(NamedTuple):
    """The tensors of a file by name, and the classes of the pickled models that contain them by the models' names."""

    tensors: Mapping[str, Tensor]
    models: Mapping[str, str]


class _Node(NamedTuple):
    """A part of a path."""

    above: _Node | None
    part: str
    depth: int
    in_model: bool


class _Leave(NamedTuple):
    """Marks the end of a container's content."""

    identity: int


def named_tensors(content: Any) -> Named:
    """Return every tensor in nested containers and objects; what contains itself is entered once.

    Raises WeightsError if two tensors have one name, or a name or the number of paths has no end.
    """
    tensors: dict[str, Tensor] = {}
    models: dict[str, str] = {}
    waiting: list[tuple[_Node, Any]] = [(_Node(None, "", 0, False), content)]
    entered: set[int] = set()
    work = 0
    while waiting:
        node, value = waiting.pop()
        value = unwrapped(value)
        if isinstance(value, Tensor):
            name = _path(node)
            if tensors.setdefault(name, value) is not value:
                raise WeightsError(f"refused: two of its tensors are named {name}")
        elif isinstance(value, _Leave):
            entered.discard(value.identity)
        elif isinstance(value, _CONTAINERS) and (identity := id(cast("object", value))) not in entered:
            work += 1 + _size(value) // 8
            if work > MAX_WORK:
                raise WeightsError("refused: its objects refer to one another without end")
            in_model = isinstance(value, Object) and is_model(value)
            if in_model and not node.in_model:
                models[_path(node)] = cast("Object", value).kind
            children: list[tuple[_Node, Any]] = [
                (_Node(node, part, node.depth + 1, in_model or node.in_model), child)
                for part, child in _children(value)
                if isinstance(child, _ENTERED)
            ]
            if children:
                work += 3
                entered.add(identity)
                waiting.append((node, _Leave(identity)))
                waiting.extend(reversed(children))
    return Named(tensors, models)


def is_model(value: Object) -> bool:
    """Whether an object is a PyTorch module or a TorchScript program's."""
    return value.kind.startswith(PROGRAM) or isinstance(value.attributes().get("_parameters"), dict)


def _path(node: _Node) -> str:
    parts: list[str] = []
    if node.depth > MAX_DEPTH:
        raise WeightsError(f"refused: a tensor is inside more than {MAX_DEPTH} containers")
    while node.above is not None:
        parts.append(node.part)
        node = node.above
    if sum(map(len, parts)) > MAX_LENGTH:
        raise WeightsError(f"refused: the name of a tensor is longer than {MAX_LENGTH:,} characters")
    return ".".join(reversed(parts))


def _size(value: Any) -> int:
    """How many values ``_children`` looks at."""
    if not isinstance(value, Object):
        return len(value)
    attributes = value.attributes()
    nested = [attributes.get(key) for key in (*_STATE_DICT, _TEMPORARY)]
    parts = [attributes, value.arguments, *value.arguments[:1], value.entries, value.values, *nested]
    return sum(len(part) for part in parts if is_mapping(part) or is_sequence(part))


def _children(value: Any) -> Iterable[tuple[str, Any]]:
    """The values in a container, each with its part of the path."""
    if is_mapping(value):
        return _named(value)
    if is_sequence(value):
        if _is_pairs(value):
            return ((name, child) for name, child in value)
        return ((str(position), child) for position, child in enumerate(value))
    return _of_object(value)


def _is_pairs(values: Sequence[Any]) -> bool:
    """Whether a sequence is a mapping's pairs of a name and a tensor, as ``list(model.named_parameters())`` is."""
    return bool(values) and all(
        is_sequence(pair) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(unwrapped(pair[1]), Tensor)
        for pair in values
    )


def _named(entries: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in entries.items():
        if (part := _part(key)) is not None:
            yield part, value


def _part(key: Any) -> str | None:
    """A key as a part of a name, None if it is not one."""
    if isinstance(key, Key) and is_sequence(key.value) and len(key.value) <= MAX_KEYS:
        parts = [part for item in key.value if (part := _part(item)) is not None]
        return ".".join(parts) if len(parts) == len(key.value) else None
    if isinstance(key, bytes):
        return key[: MAX_LENGTH + 1].decode("latin-1")
    return str(key) if isinstance(key, str) or (isinstance(key, int) and -(2**63) <= key < 2**63) else None


def _of_object(value: Object) -> Iterable[tuple[str, Any]]:
    attributes = value.attributes()
    if is_model(value) and not value.kind.startswith(PROGRAM):
        temporary = attributes.get(_TEMPORARY)
        omitted = {name for name in temporary if isinstance(name, str)} if is_sequence(temporary) else set[str]()
        for key in _STATE_DICT:
            members = attributes.get(key)
            for name, member in _named(members) if is_mapping(members) else ():
                if key != "_buffers" or name not in omitted:
                    yield name, member
        return
    arguments: Any = value.arguments
    if len(arguments) == 1 and isinstance(arguments[0], dict | list | tuple):
        arguments = arguments[0]
    for content in (value.entries, value.values, arguments, attributes):
        if content:
            yield from _children(content)
