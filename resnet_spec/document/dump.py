"""Writes plain data as YAML that readers of YAML 1.1 and 1.2, this package among them, read as the same data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

import yaml

from resnet_spec.document.parser import PLAIN


def to_yaml(data: Any) -> str:
    """YAML that ``parse`` reads back to the same data; values that YAML 1.1 readers would misread are quoted."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


_FLOW_WIDTH = 88
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
# Line breaks in YAML 1.1, some of which libyaml converts into others.
_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper for YAML 1.1; the resolvers below add what YAML 1.2 would misread."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def serialize(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False
        super().serialize(node)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        values = [value for _, value in node.value]
        node.flow_style = _width(node) <= _FLOW_WIDTH and (len(values) < 2 or not _has_mapping(values))
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        # Numbers fill several lines.
        fits = _width(node) <= _FLOW_WIDTH or all(child.tag in _NUMBERS for child in node.value)
        node.flow_style = fits and not _has_mapping(node.value)
        return node


def _has_mapping(nodes: Iterable[yaml.Node]) -> bool:
    return any(isinstance(node, yaml.MappingNode) for node in nodes)


def _width(node: yaml.Node) -> float:
    """Characters on one line, infinite for what needs several lines."""
    if isinstance(node, yaml.ScalarNode):
        return math.inf if "\n" in node.value else len(node.value) + 2
    children = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
    return 2 + sum(_width(child) if getattr(child, "flow_style", True) is not False else math.inf for child in children)


def _represent_text(_: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _ODD_BREAKS.search(text) else "|" if "\n" in text else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern in (("float", PLAIN.pattern), ("bool", "[yYnN]")):
    _Dumper.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), None
    )
