"""A block that extends another: shipped, in a file, or of the spec's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import load
from resnet_spec.graph import Graph

SPEC = """
    extends: resnet18
    blocks:
      mine: {block}
    stages:
      layer1: {{block: mine}}
"""
LEAKY = "{extends: basic_block, main: {relu1: sigmoid, bn2: null}}"


def operations(graph: Graph) -> dict[str, str]:
    prefix = "layer1.0."
    nodes = [node for node in graph.nodes if node.name.startswith(prefix)]
    return {node.name.removeprefix(prefix): node.operation.op for node in nodes}


def test_it_merges_by_key_as_specs_do(lower: Callable[..., Graph]) -> None:
    assert operations(lower(SPEC.format(block=LEAKY))) == {
        "conv1": "conv2d",
        "bn1": "batch_norm",
        "relu1": "sigmoid",
        "conv2": "conv2d",
        "add": "add",
        "relu2": "relu",
    }


def test_it_may_be_a_file_and_extend_another_that_extends(
    lower: Callable[..., Graph], write: Callable[..., Path]
) -> None:
    write("{block: file, extends: middle, after: {relu2: sigmoid}}", "file.yaml")
    write("{block: middle, extends: basic_block, main: {bn1: null}}", "middle.yaml")
    text = SPEC.format(block="file.yaml").replace("blocks:", "blocks:\n      middle: middle.yaml")
    found = operations(lower(text))
    assert "bn1" not in found
    assert found["relu2"] == "sigmoid"


def test_an_override_reaches_what_it_inherits(write: Callable[..., Path]) -> None:
    spec = load(
        write(SPEC.format(block=LEAKY)),
        ["blocks.mine.main.conv1.conv2d.kernel=1", "blocks.mine.main.conv1.conv2d.padding=0"],
    )
    assert "extends" not in spec.data()["blocks"]["mine"]
    assert spec.to_graph().by_name["layer1.0.conv1"].operation.model_dump()["kernel"] == (1, 1)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{extends: basic_blok}", "3:19: blocks.mine.extends: unknown block 'basic_blok'; did you mean 'basic_block'?"),
        ("{extends: 3}", "3:19: blocks.mine.extends: unknown block 3"),
        ("{extends: mine}", "3:19: blocks.mine.extends: 'extends' goes in a circle: mine → mine"),
        ("{extends: basic_block, main: {bn7: null}}", "3:39: blocks.mine.main.bn7: null deletes a key"),
    ],
)
def test_a_mistake_is_reported_with_its_place(mistakes: Callable[..., list[str]], block: str, message: str) -> None:
    (line,) = mistakes(SPEC.format(block=block))
    assert message in line
