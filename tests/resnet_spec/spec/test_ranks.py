"""Shipped blocks for inputs of any rank, and overrides that name an operation for one rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import load
from resnet_spec.errors import SpecError

SPEC = """
input: {{channels: 3, {sizes}}}
layers: {{norm: {{batch_norm: {{epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}}}, act: relu}}
{blocks}
stages:
  layer1: {{block: {block}, channels: 8, stride: 2}}
head: {{avgpool: global_avg_pool, flatten: flatten, fc: {{linear: {{features: 2}}}}}}
"""

SIZES = {1: "length: 33", 2: "height: 33, width: 32", 3: "depth: 9, height: 33, width: 32"}


@pytest.mark.parametrize("rank", SIZES)
def test_a_shipped_block_takes_inputs_of_any_rank(rank: int, write: Callable[..., Path]) -> None:
    graph = load(write(SPEC.format(sizes=SIZES[rank], blocks="", block="basic_block"))).to_graph()
    assert graph.by_name["layer1.0.conv1"].operation.op == f"conv{rank}d"
    assert graph.by_name["layer1.0.downsample.0"].operation.op == f"conv{rank}d"


@pytest.mark.parametrize("word", ["conv2d", "conv_nd"])
def test_an_override_may_name_the_operation_for_one_rank(word: str, write: Callable[..., Path]) -> None:
    blocks = f"blocks: {{mine: {{extends: basic_block, main: {{conv1: {{{word}: {{groups: 1, bias: true}}}}}}}}}}"
    node = load(write(SPEC.format(sizes=SIZES[2], blocks=blocks, block="mine"))).to_graph().by_name["layer1.0.conv1"]
    fields = node.operation.model_dump()
    # What is not overridden stays.
    assert (fields["op"], fields["bias"], fields["kernel"], fields["stride"]) == ("conv2d", True, (3, 3), (2, 2))


def test_null_deletes_an_operation_by_the_word_for_one_rank(write: Callable[..., Path]) -> None:
    blocks = (
        "blocks:\n"
        "  padded: {parameters: {channels: int}, main: {conv: {conv2d: {channels: channels, kernel: 1}}}}\n"
        "  mine: {extends: basic_block, main: {conv2: {conv2d: null, padded: {channels: channels}}}}"
    )
    graph = load(write(SPEC.format(sizes=SIZES[2], blocks=blocks, block="mine"))).to_graph()
    assert graph.by_name["layer1.0.conv2.conv"].operation.model_dump()["kernel"] == (1, 1)


def test_a_word_for_another_rank_is_reported_where_it_is_written(write: Callable[..., Path]) -> None:
    blocks = "blocks:\n  mine:\n    extends: basic_block\n    main: {conv1: {conv3d: {bias: true}}}"
    path = write(SPEC.format(sizes=SIZES[2], blocks=blocks, block="mine"))
    with pytest.raises(SpecError) as caught:
        load(path).to_graph()
    (problem,) = caught.value.problems
    assert problem.path == "blocks.mine.main.conv1", problem
    assert problem.message.startswith("needs a volume")


def test_layers_that_are_named_like_operations_stay_apart(write: Callable[..., Path], tmp_path: Path) -> None:
    base = "input: {channels: 3, height: 8, width: 8}\nstem:\n  conv2d: {conv2d: {channels: 4, kernel: 3}}\n"
    (tmp_path / "base.yaml").write_text(base)
    own = "extends: base.yaml\nstem:\n  conv_nd: {conv_nd: {channels: 2, kernel: 1}}\n"
    (tmp_path / "own.yaml").write_text(own)
    assert [node.name for node in load(tmp_path / "own.yaml").to_graph().nodes] == ["conv2d", "conv_nd"]


@pytest.mark.parametrize("word", ["conv2d", "conv_nd"])
def test_an_override_from_outside_may_say_either(word: str, write: Callable[..., Path]) -> None:
    path = write(SPEC.format(sizes=SIZES[2], blocks="blocks: {mine: {extends: basic_block}}", block="mine"))
    graph = load(path, [f"blocks.mine.main.conv1.{word}.bias=true"]).to_graph()
    assert graph.by_name["layer1.0.conv1"].operation.model_dump()["bias"]
