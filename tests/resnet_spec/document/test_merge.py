"""Documents merged as ``extends`` merges them, with the positions of their values."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_spec.document.dump import to_yaml
from resnet_spec.document.merge import merge
from resnet_spec.document.parser import Document, parse
from resnet_spec.errors import Position
from tests.resnet_spec.document.support import assert_placed, lines

BASE = """\
name: base
stem: {conv1: {conv2d: {channels: 64, kernel: 7}}, bn1: norm, relu: act}
stages:
  layer1: {block: basic, padding: [1, 2]}
  layer2: {block: basic}
"""


class TestMerge:
    def merge(self, override: str) -> Document:
        base = parse(BASE, "base")
        before = to_yaml(base.data)
        merged = merge(base, parse(override, "over"))
        assert_placed(merged)
        assert to_yaml(base.data) == before
        return merged

    def test_by_key_in_the_bases_order(self) -> None:
        merged = self.merge("stages:\n  layer3: {block: new}\n  layer1: {padding: [3]}\nextra: 1\nname: over\n")
        assert list(merged.data) == ["name", "stem", "stages", "extra"]
        assert list(merged.data["stages"]) == ["layer1", "layer2", "layer3"]
        assert merged.data["stages"]["layer1"] == {"block": "basic", "padding": [3]}
        assert merged.data["name"] == "over"
        assert merged.file == "over"

    def test_a_new_key_follows_the_key_it_is_written_behind(self) -> None:
        merged = self.merge("stem: {conv1: null, conv1.0: a, conv1.1: b, relu: c, last: d}\n")
        assert list(merged.data["stem"]) == ["conv1.0", "conv1.1", "bn1", "relu", "last"]
        merged = self.merge("stem: {first: a, bn1: b, second: c}\n")
        assert list(merged.data["stem"]) == ["conv1", "bn1", "second", "relu", "first"]

    def test_positions_follow_the_values(self) -> None:
        merged = self.merge("stages:\n  layer1: {padding: [3]}\n")
        assert merged.values[("stages", "layer1", "padding", 0)] == Position("over", 2, 22)
        assert merged.keys[("stages", "layer1")] == Position("over", 2, 3)
        assert merged.values[("stages", "layer1", "block")] == Position("base", 4, 19)
        assert merged.keys[("stages", "layer2")] == Position("base", 5, 3)
        assert merged.values[()] == Position("over", 1, 1)

    def test_null_deletes(self) -> None:
        merged = self.merge("stem: {conv1: null, relu: ~}\nstages:\n")
        assert merged.data == {"name": "base", "stem": {"bn1": "norm"}}

    def test_other_kinds_are_replaced(self) -> None:
        merged = self.merge("stem: {bn1: {batch_norm: {epsilon: 0.1}}, conv1: none}\nstages: [null]\n")
        assert merged.data["stem"] == {"conv1": "none", "bn1": {"batch_norm": {"epsilon": 0.1}}, "relu": "act"}
        assert merged.data["stages"] == [None]

    def test_nothing_to_delete(self) -> None:
        override = "stages:\n  layr1:\n  layer9: {block: null}\nname: {first: ~}\nstem: {bn9: ~}\n"
        assert lines(lambda: self.merge(override)) == [
            "over:5:8: stem.bn9: null deletes a key, but there is no 'bn9' to delete; did you mean 'bn1'?",
            "over:2:3: stages.layr1: null deletes a key, but there is no 'layr1' to delete; did you mean 'layer1'?",
        ]

    def test_null_in_a_mapping_the_base_lacks_is_a_value(self) -> None:
        merged = self.merge("stages: {layer9: {gate: {multiply: null}}}\nname: {first: ~}\n")
        assert merged.data["stages"]["layer9"] == {"gate": {"multiply": None}}
        assert merged.data["name"] == {"first": None}

    def test_roots_that_are_no_mappings(self) -> None:
        assert merge(parse("a: 1", "b"), parse("[2]", "o")).data == [2]
        assert merge(parse("[2]", "b"), parse("a: 1", "o")).data == {"a": 1}

    def test_chains(self) -> None:
        merged = merge(self.merge("a: 1\n"), parse("stem: {bn1: null}\n", "top"))
        assert_placed(merged)
        assert list(merged.data["stem"]) == ["conv1", "relu"]


TREES = st.recursive(
    st.integers(-(10**9), 10**9) | st.lists(st.none()), lambda child: st.dictionaries(st.sampled_from("abcd"), child)
)


@settings(deadline=None)
@given(TREES, TREES)
def test_merging_without_nulls_is_a_deep_update(old: Any, new: Any) -> None:
    def update(old: Any, new: Any) -> Any:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        return old | {key: update(old[key], value) if key in old else value for key, value in new.items()}

    merged = merge(parse(to_yaml(old), "base"), parse(to_yaml(new), "over"))
    # Equal but for the order of keys, which has a test of its own.
    assert merged.data == update(old, new)
    assert_placed(merged)
