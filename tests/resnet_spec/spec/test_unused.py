"""What nothing uses is checked as strictly as what is used: blocks, defined layers, and a block's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import Graph, load
from resnet_spec.errors import SpecError
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.loader import check_block

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]
Write = Callable[..., Path]

HEAD = "parameters: {channels: int, stride: 1, gate: none, kind: layer}\n"
CASES = [
    ("main: {a: {frobnicate: {x: 1}}}", "main.a: unknown operation, block or layer 'frobnicate'"),
    ("main: {a: frobnicate}", "main.a: unknown operation, block or layer 'frobnicate'"),
    ("main: {a: {conv2d: {chanels: 3, kernel: 1}}}", "main.a.conv2d.chanels: unknown key 'chanels'"),
    ("main: {a: {conv2d: {channels: channels, kernel: 0}}}", "conv2d: kernel must be at least 1, not 0"),
    ("main: {a: {conv2d: {channels: channels}}}", "main.a: conv2d needs 'kernel'"),
    ("main: {a: {conv2d: {channels: chanels, kernel: 1}}}", "unknown name 'chanels'; did you mean 'channels'?"),
    ("main: {a: {frob: null, when: stride > 1}}", "main.a: unknown operation, block or layer 'frob'"),
    ("main: {a: {frob: null, when: gate}}", "main.a: unknown operation, block or layer 'frob'"),
    ("main: {a: {relu: null, when: strid > 1}}", "main.a.when: unknown name 'strid'"),
    ("main: {a: {add: null}}", "main.a: add takes two inputs or more, not 1"),
    ("main: {a: {relu: null, from: b}}", "main.a.from: no earlier layer here is named 'b'"),
    ("main: {a: {call: b}}", "main.a.call: no earlier layer here is named 'b'"),
    ("main: {a: relu, b: {relu: null, when: b.channels > 1}}", "no earlier step here is named 'b' (known: input, a)"),
    ("main: {a: {bottleneck: {width: 3}}}", "block 'bottleneck' needs a value for 'channels'"),
    ("main: {a: {bottleneck: {width: 3, channels: 3, widht: 1}}}", "unknown key 'widht' of block 'bottleneck'"),
    ("main: {a: {repeat: stride, steps: {x: frob}}}", "main.a.steps.x: unknown operation, block or layer 'frob'"),
    ("main: {a: {when: gate, steps: {x: frob}}}", "main.a.steps.x: unknown operation, block or layer 'frob'"),
    ("main: {a: relu}\nshortcut: {when: stride > 1, layers: {x: frob}}", "shortcut.layers.x: unknown operation"),
    (
        "main: {a: relu}\nshortcut: {when: stride == 1, otherwise: {layers: {x: frob}}}",
        "otherwise.layers.x: unknown op",
    ),
    ("main: {a: relu}\nshortcut: {from: b}", "shortcut.from: no earlier layer here is named 'b'"),
    ("main: {a: relu}\nafter: {x: frob}", "after.x: unknown operation, block or layer 'frob'"),
    ("main: {a: relu}\noutputs: [b]", "outputs.0: no earlier layer here is named 'b'"),
    ("main: {a: {spec: {stem: {b: relu}}, from: [input, c]}}", "main.a.from: no earlier layer here is named 'c'"),
]
GOOD = [
    "main: {a: {conv2d: {channels: channels, kernel: 1, stride: stride}}, b: kind, c: gate, d: {gate: {any: 1}}}",
    "main: {a: {relu: null, from: input}, b: {multiply: null, from: [a, input], when: gate}}",
    "main: {a: {repeat: channels, steps: {b: {add: null, from: [input, previous]}}}, c: {add: null, from: a.*}}",
    "main: {a: {bottleneck: {width: channels, channels: 4}}}",
    "main: {a: {conv2d: {channels: input.channels // stride, kernel: [in_height, in_width]}}}",
    "main: {a: {spec: resnet18, outputs: features}, b: {relu: null, from: a.layer3}}",
    "main: {a: {linear: {features: in_features // (stride - 1)}}}",
    "inputs: [input, skip]\nmain: {a: {conv2d: {channels: skip.channels, kernel: 1}, from: skip}}",
]


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in (HEAD + text).splitlines())


@pytest.mark.parametrize(("block", "said"), CASES)
def test_a_block_that_nothing_uses_is_checked(mistakes: Mistakes, block: str, said: str) -> None:
    (found,) = mistakes(f"stem: {{a: relu}}\nblocks:\n  mine:\n{indented(block)}")
    assert f"blocks.mine.{said}" in found or said in found
    assert found.startswith("spec.yaml:")


@pytest.mark.parametrize(("block", "said"), CASES)
def test_a_blocks_own_file_is_checked(write: Write, block: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_block(write(HEAD + block, "mine.yaml"))
    (problem,) = caught.value.problems
    assert said in str(problem)
    assert str(problem).startswith("mine.yaml:")


@pytest.mark.parametrize("block", GOOD)
def test_a_right_block_is_valid_used_or_not(lower: Lower, write: Write, block: str) -> None:
    lower(f"stem: {{a: relu}}\nlayers: {{norm: relu, act: relu}}\nblocks:\n  mine:\n{indented(block)}")
    check_block(write(HEAD + block, "mine.yaml"))


@pytest.mark.parametrize("name", Catalog.shipped().blocks())
def test_every_shipped_block_is_valid_by_itself(name: str) -> None:
    check_block(Catalog.shipped().blocks()[name])


def test_a_block_may_use_layers_of_the_specs_around_it(write: Write, tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    block = write("block: mine\nmain: {a: special, b: norm}\n", "blocks/mine.yaml")
    with pytest.raises(SpecError, match="unknown operation, block or layer 'special'"):
        check_block(block)
    write("layers: {special: relu, norm: relu}\nblocks: {mine: blocks/mine.yaml}\nstem: {a: mine}\n", "using.yaml")
    write("layers: {special: relu\n", "broken.yaml")
    check_block(block)


def test_a_layer_that_nothing_uses_is_checked(mistakes: Mistakes, lower: Lower) -> None:
    (found,) = mistakes("layers: {norm: {frob: {x: 1}}}\nstem: {a: relu}\n")
    assert "layers.norm: unknown operation, block or layer 'frob'" in found
    (found,) = mistakes("layers: {norm: {batch_norm: {epsilom: 1}}}\nstem: {a: relu}\n")
    assert "unknown key 'epsilom' of operation 'batch_norm'; did you mean 'epsilon'?" in found
    lower("layers: {conv: {conv2d: {bias: true}}}\nstem: {a: relu}\n")


def test_what_two_blocks_share_is_reported_once(mistakes: Mistakes) -> None:
    (found,) = mistakes("blocks: {a: {main: {x: frob}}, b: {extends: a}, c: {extends: b}}\nstem: {s: relu}\n")
    assert "blocks.a.main.x: unknown operation, block or layer 'frob'" in found


def test_blocks_that_contain_each_other_are_not_followed(lower: Lower) -> None:
    graph = lower("blocks: {a: {main: {x: b}}, b: {main: {y: a}}}\nstem: {s: relu}\n")
    assert [node.name for node in graph.nodes] == ["s"]


def test_steps_after_a_mistake_are_checked_too(mistakes: Mistakes) -> None:
    found = mistakes("stem: {a: {relu: null, when: widht > 1}, b: {frob: null, when: widht > 1}}\n")
    assert [line.partition(": ")[2].partition(" (")[0].partition(";")[0] for line in found] == [
        "stem.a.when: unknown name 'widht'",
        "stem.b.when: unknown name 'widht'",
        "stem.b: unknown operation, block or layer 'frob'",
    ]


def test_the_command_reports_a_blocks_file(command: Callable[..., Any], write: Write) -> None:
    done = command("resnet-spec", "validate", write("block: mine\nmain: {a: {frobnicate: {x: 1}}}\n", "mine.yaml"))

    assert (done.status, done.out) == (2, "")
    assert done.err == "mine.yaml:2:11: main.a: unknown operation, block or layer 'frobnicate'\n"


def test_names_with_counters_are_no_others_of_a_block_that_nothing_uses(lower: Lower) -> None:
    assert lower("""
        blocks:
          b:
            main:
              convs.0: {conv2d: {channels: 4, kernel: 1}}
              more:
                repeat: 3
                steps:
                  convs.{number}: {conv2d: {channels: 4, kernel: 1}, from: input}
              sum: {add: null, from: [convs.0, more.*]}
        stem: {relu: relu}
    """)


def test_a_resolved_spec_has_no_block_that_others_only_extend() -> None:
    """Its layers may lack what only those of the other block state."""
    assert list(load("timm/regnety_040_sgn").data()["blocks"]) == ["regnet_group_norm_bottleneck", "squeeze_excite"]
