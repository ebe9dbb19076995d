"""Finds blocks that are alike: the same layers, connected alike, by the same names, with other numbers.

One may have a projection, or one more layer in it, where another has none; one may add its input where another adds
nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from resnet_spec.graph import Node
from resnet_spec.importing.fields import fields_of, leaves
from resnet_spec.importing.template import Template


def alike(templates: Sequence[Template]) -> list[list[Template]]:
    """Split blocks into those that one definition can make, in the order of the first of each kind."""
    kinds: dict[Hashable, list[Template]] = {}
    for template in templates:
        key = _key(template, template.main), _key(template, template.after)
        kinds.setdefault(key, []).append(template)
    return [part for same in kinds.values() for part in _by_shortcut(same)]


def _by_shortcut(templates: list[Template]) -> Iterator[list[Template]]:
    """Split blocks that add different shortcuts."""
    kinds: dict[Hashable, list[Template]] = {}
    for template in templates:
        join = template.join and template.local(template.join.name)
        origin = template.local(template.origin) if template.origin else ""
        kinds.setdefault((join, origin, _steps(template)), []).append(template)
    # Longer chains first, which shorter ones may be parts of.
    parts: list[list[Template]] = []
    for part in sorted(kinds.values(), key=lambda part: (-len(part[0].shortcut), part[0].join is None)):
        host = next((known for known in parts if _is_part(part[0], known)), None)
        if host is None:
            parts.append(part)
        else:
            host += part
    order = {id(template): index for index, template in enumerate(templates)}
    yield from (sorted(part, key=lambda template: order[id(template)]) for part in parts)


def _is_part(template: Template, part: Sequence[Template]) -> bool:
    """Whether a block's shortcut is another's without some layers, or nothing where the other adds its input."""
    other = part[0]
    if template.join is None:
        return other.join is not None and not other.shortcut and not other.after
    if other.join is None or template.local(template.join.name) != other.local(other.join.name):
        return False
    if not template.shortcut:
        # Without layers it may start elsewhere, but at one place.
        return all(own.shortcut or own.origin_name == template.origin_name for own in part)
    steps = iter(_steps(other))
    return template.origin_name == other.origin_name and all(step in steps for step in _steps(template))


def _steps(template: Template) -> tuple[Hashable, ...]:
    return tuple((name, op, rest) for name, op, _, _, rest in _key(template, template.shortcut))


def _key(template: Template, nodes: Sequence[Node]) -> tuple[Any, ...]:
    """What must be equal in blocks that are alike: all but numbers."""
    return tuple(
        (
            template.local(node.name),
            node.operation.op,
            tuple(template.local(name) for name in node.inputs),
            node.calls and template.local(node.calls),
            tuple((path, None if number else repr(value)) for path, value, number in leaves(fields_of(node))),
        )
        for node in nodes
    )
