"""Overrides applied to a document, from texts and from mappings."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import pytest

from resnet_spec.document.overrides import assign
from resnet_spec.document.parser import Document, parse
from resnet_spec.errors import Position
from tests.resnet_spec.document.support import assert_placed, lines

DOTS = (
    "stem:\n  conv1: {stride: 1}\n  conv1.0: {conv2d: {channels: 32}}\n  conv1.0.bn: norm\nlist: [1, 2]\nnone: null\n"
)


class TestAssign:
    def assign(self, *assignments: str) -> Document:
        document = parse(DOTS, "f")
        changed = assign(document, assignments)
        assert_placed(changed)
        assert document == parse(DOTS, "f")
        return changed

    @pytest.mark.parametrize(
        ("assignment", "path", "value"),
        [
            ("stem.conv1.stride=2", ("stem", "conv1", "stride"), 2),
            ("stem.conv1.0.conv2d.channels=width * 4", ("stem", "conv1.0", "conv2d", "channels"), "width * 4"),
            ("stem.conv1.0.bn=act", ("stem", "conv1.0.bn"), "act"),
            ("stem.conv1.new=no", ("stem", "conv1", "new"), "no"),
            ("stem.conv1.0.new=1e-5", ("stem", "conv1.0", "new"), 1e-5),
            (" new = ' x=y '", ("new",), " x=y "),
            ("list=[[1, 2], {a: ~}]", ("list",), [[1, 2], {"a": None}]),
            ("none={a: 0777}", ("none",), {"a": 777}),
            ("stem={}", ("stem",), {}),
        ],
    )
    def test_sets(self, assignment: str, path: tuple[str, ...], value: object) -> None:
        changed = self.assign(assignment)
        found = changed.data
        for key in path:
            found = found[key]
        assert found == value
        place = Position(f"override {assignment}", 1, 1)
        assert changed.keys[path] == changed.values[path] == place
        assert changed.values[()] == Position("f", 1, 1)

    def test_keeps_the_order(self) -> None:
        assert list(self.assign("stem.conv1.0=1").data["stem"]) == ["conv1", "conv1.0", "conv1.0.bn"]

    def test_null_deletes(self) -> None:
        changed = self.assign("stem.conv1.0=null", "none=~")
        assert list(changed.data["stem"]) == ["conv1", "conv1.0.bn"]
        assert "none" not in changed.data

    def test_one_after_the_other(self) -> None:
        assert self.assign("a={b: 1}", "a.b=2", "a.c=3", "a.b=null").data["a"] == {"c": 3}

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("stem", "an override is written KEY=VALUE"),
            ("=1", "a key, or a part of it, is empty"),
            ("stem..x=1", "stem..x: a key, or a part of it, is empty"),
            ("list=", "list: the value is empty; write null to delete the key, '' for an empty text"),
            ("list=# x", "list: the file is empty"),
            ("list=a: 1", "list: write a mapping as {key: value} and a list as [value, value]"),
            ("list=- 1", "list: write a mapping as {key: value} and a list as [value, value]"),
            ("list={a: 1, a: 2}", "list.a: duplicate key 'a', first on line 1"),
            (
                "list=!!python/name:os.system x",
                "list: tag !!python/name:os.system is not allowed; quote the value to make it text",
            ),
            ("stm.conv1.stride=1", "stm.conv1.stride: there is no 'stm'; did you mean 'stem'?"),
            ("stem.cnv1.stride=1", "stem.cnv1.stride: there is no 'cnv1' in stem; did you mean 'conv1'?"),
            ("stem.bn1=null", "stem.bn1: there is no 'bn1' to delete"),
            ("stem.conv1.strde=null", "stem.conv1.strde: there is no 'strde' to delete; did you mean 'stride'?"),
            ("list.0=1", "list.0: list is not a mapping; only a whole value can be set"),
            ("none.a=1", "none.a: none is not a mapping; only a whole value can be set"),
        ],
    )
    def test_refused(self, assignment: str, message: str) -> None:
        assert lines(lambda: self.assign(assignment)) == [f"override {assignment}:1:1: {message}"]

    def test_root_must_be_a_mapping(self) -> None:
        [line] = lines(lambda: assign(parse("[1]", "f"), ["a=1"]))
        assert line == "override a=1:1:1: a: the document is not a mapping; only a whole value can be set"

    def test_problems_are_collected(self) -> None:
        assert len(lines(lambda: self.assign("x", "list=", "stem.a.b=1"))) == 3

    def test_depth(self) -> None:
        deep = "[" * 64 + "]" * 64
        [line] = lines(lambda: self.assign(f"list={deep}"))
        assert line.endswith("nested deeper than 64 levels")

    def test_mapping_of_plain_data(self) -> None:
        document = parse(DOTS, "f")
        changed = assign(document, {"stem.conv1.stride": 2, "list": ({"a": "no"}, 1.5), "none": None})
        assert_placed(changed)
        assert changed.data["stem"]["conv1"]["stride"] == 2
        assert changed.data["list"] == [{"a": "no"}, 1.5]
        assert "none" not in changed.data
        assert changed.values[("list", 0, "a")] == Position("overrides['list']", 1, 1)

    def test_mapping_is_copied(self) -> None:
        value = {"a": [1]}
        changed = assign(parse("x: 1", "f"), {"x": value})
        value["a"].append(2)
        assert changed.data == {"x": {"a": [1]}}

    def test_mapping_of_other_things(self) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        number = IntEnum("Number", "one")
        overrides = {"list": {1: 2}, "none": [b"x"], "stem": math.nan, "new": cycle, "last": number(1)}
        assert lines(lambda: assign(parse(DOTS, "f"), overrides)) == [
            "overrides['list']:1:1: list: key 1 is not a string",
            "overrides['none']:1:1: none.0: b'x' is not plain data",
            "overrides['stem']:1:1: stem: nan is not plain data",
            "overrides['new']:1:1: new.0.0...: nested deeper than 64 levels",
            "overrides['last']:1:1: last: <Number.one: 1> is not plain data",
        ]
