"""Renaming the steps of what is extended renames every reference to them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec import Graph, load

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]

BASE = """
input: {channels: 4, height: 8, width: 8}
blocks:
  base:
    parameters: {conv1: 3}
    main:
      conv1: {conv2d: {channels: conv1, kernel: 1}}
      conv2: {conv2d: {channels: conv1.channels, kernel: 1}}
      group:
        repeat: 2
        from: conv1
        steps:
          conv3: {conv2d: {channels: conv1.channels, kernel: 1}}
          again: {call: conv1, from: input}
          s: {add: null, from: [conv3, again]}
      sum: {add: null, from: [conv2, group.*]}
    shortcut: {from: conv1, layers: {proj: {conv2d: {channels: conv2.channels + conv1 - 3, kernel: 1}}}}
    outputs: [conv1]
"""
RENAMED = (
    BASE
    + """
  mine:
    extends: base
    rename: {conv1: first, conv3: third, group: many.layers, proj: p.q}
"""
)


def test_every_reference_follows(lower: Lower) -> None:
    graph = lower(RENAMED + "stem: {a: mine, last: {add: null, from: [a, a.first]}}\n")
    base = lower(BASE + "stem: {a: base, last: {add: null, from: [a, a.conv1]}}\n")

    def new(name: str) -> str:
        for old, to in (("a.conv1", "a.first"), ("a.group", "a.many.layers"), ("conv3", "third"), ("a.proj", "a.p.q")):
            name = name.replace(old, to)
        return name

    assert [(new(node.name), tuple(map(new, node.inputs)), node.operation) for node in base.nodes] == [
        (node.name, node.inputs, node.operation) for node in graph.nodes
    ]


def test_own_steps_have_the_new_names(lower: Lower) -> None:
    graph = lower("""
        extends: resnet18
        rename: {fc: classifier, layer1: first, maxpool: pool}
        head: {classifier: {linear: {features: 7}}}
        stages: {first: {channels: 32}}
        outputs: [first, classifier]
        """)
    assert graph.outputs == ("first.1.relu2", "classifier")
    assert graph.by_name["first.0.conv1"].inputs == ("pool",)
    assert graph.by_name["classifier"].shape == (7,)
    assert [(n.operation, n.shape) for n in lower("extends: resnet18\nrename: {fc: x}\n").nodes] == [
        (n.operation, n.shape) for n in load("resnet18").to_graph().nodes
    ]


def test_names_can_be_exchanged(lower: Lower) -> None:
    graph = lower(BASE + "  mine: {extends: base, rename: {conv1: conv2, conv2: conv1}}\nstem: {a: mine}\n")
    assert [node.name for node in graph.nodes][:2] == ["a.conv2", "a.conv1"]


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        ("{conv9: x}", "blocks.mine.rename.conv9: no step of what is extended is named 'conv9'; did you mean 'conv"),
        ("{conv1: conv2}", "blocks.mine.rename.conv1: 'conv2' is already the name of another step"),
        ("{conv1: x, conv2: x}", "blocks.mine.rename.conv2: 'x' is already the name of another step"),
        ("{conv1: 3}", "blocks.mine.rename: must be a mapping from the old names of steps to new ones"),
        ("[conv1]", "blocks.mine.rename: must be a mapping from the old names of steps to new ones"),
    ],
)
def test_wrong_names_are_reported(mistakes: Mistakes, rename: str, said: str) -> None:
    (found,) = mistakes(f"{BASE}  mine: {{extends: base, rename: {rename}}}\nstem: {{a: mine}}\n")
    assert said in found


def test_a_name_that_is_not_valid_is_reported_where_it_is_given(mistakes: Mistakes) -> None:
    (found,) = mistakes("extends: resnet18\nrename: {fc: a b}\n")
    assert found.startswith("spec.yaml:2:14: head.a b: 'a b' is not a valid key: must be letters, digits, _")


def test_without_extends_there_is_nothing_to_rename(mistakes: Mistakes) -> None:
    (found,) = mistakes("rename: {a: b}\nstem: {a: relu}\n")
    assert "unknown key 'rename'" in found


def test_errors_are_reported_where_the_renamed_step_is_written(mistakes: Mistakes, write: Callable[..., Any]) -> None:
    write(
        "input: {channels: 4, height: 8, width: 8}\nstem:\n  conv1: {conv2d: {channels: x, kernel: 1}}\n", "base.yaml"
    )
    assert mistakes("extends: base.yaml\nrename: {conv1: c}\n") == [
        "base.yaml:3:30: stem.c.conv2d.channels: unknown name 'x' (known: in_channels, in_height, in_width)"
    ]
