"""Lists of specs and blocks, and the file of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec import available, load, summarize
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.loader import block_descriptions, headings
from tests.shipped import SAMPLE

Command = Callable[..., Any]


def listed(command: Command, *arguments: str) -> list[str]:
    done = command("resnet-spec", "list", *arguments)
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


@pytest.mark.parametrize("name", sorted(SAMPLE))
def test_the_figures_of_the_list_are_those_of_the_network(name: str) -> None:
    """After a change to a shipped spec: ``make figures``."""
    summary, row = summarize(load(name).to_graph()), headings()[name]

    assert (row["parameters"], row["macs"], tuple(row["input"])) == (summary.parameters, summary.macs, summary.input)


def test_every_shipped_spec_has_figures_and_no_other() -> None:
    rows = headings()

    assert [*rows] == available()
    assert all(row["parameters"] and row["macs"] and row["input"] for row in rows.values())


def test_parameters_are_those_that_specs_state() -> None:
    catalog = Catalog.shipped()
    stated = {
        name: catalog.document(catalog.find(name)).data.get("source", {}).get("parameters") for name in available()
    }
    assert {name: count for name, count in stated.items() if count} == {
        name: row["parameters"] for name, row in headings().items() if stated[name]
    }


@pytest.mark.parametrize(
    ("arguments", "some"),
    [
        (["wide_resnet"], ["timm/wide_resnet50_2", "torchvision/wide_resnet101_2"]),
        (["WIDE_ResNet"], ["timm/wide_resnet50_2", "torchvision/wide_resnet101_2"]),
        (["timm/*50d"], ["timm/resnet50d"]),
        (["wide*"], ["timm/wide_resnet50_2", "torchvision/wide_resnet101_2"]),
        (["--family", "cifar", "resnet20"], ["cifar/resnet20"]),
    ],
)
def test_a_pattern_is_a_part_of_a_name_or_has_wildcards(
    command: Command, arguments: list[str], some: list[str]
) -> None:
    found = listed(command, *arguments)

    assert {*some} <= {*found}
    assert "torchvision/resnet18" not in found


@pytest.mark.parametrize(
    ("order", "key", "sign"), [("params", "parameters", 1), ("macs", "macs", 1), ("accuracy", "top1", -1)]
)
def test_specs_are_sorted(command: Command, order: str, key: str, sign: int) -> None:
    found, rows = listed(command, "--sort", order), headings()

    assert sorted(found) == available()
    values = [sign * rows[name][key] for name in found if rows[name][key]]
    assert values == sorted(values)
    # Those without a published accuracy are last.
    assert all(rows[name][key] for name in found[: len(values)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "resnt50"], "no shipped spec has a name like 'resnt50'; did you mean 'resnet50'?"),
        (["list", "--family", "tim"], "no family is named 'tim'; did you mean 'timm'? (known: cifar, "),
        (["blocks", "botleneck"], "no shipped block is named 'botleneck'; did you mean 'bottleneck'?"),
        (["blocks", "xyz"], "no shipped block is named 'xyz'; 'resnet-spec blocks' shows the shipped blocks"),
        (["show", "RESNET18"], "no shipped spec is named 'RESNET18'; did you mean 'resnet18'?"),
        (["show", "resnet5"], "no shipped spec is named 'resnet5'; did you mean 'resnet50'?"),
    ],
)
def test_a_name_that_there_is_not_is_answered_by_one_that_there_is(
    command: Command, arguments: list[str], message: str
) -> None:
    done = command("resnet-spec", *arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(message)


def test_blocks_are_listed_and_shown(command: Command) -> None:
    names = command("resnet-spec", "blocks").out.splitlines()
    text = command("resnet-spec", "blocks", "bottleneck").out

    assert names == [*Catalog.shipped().blocks()] == [name for name, _ in block_descriptions()]
    # But for the first line, which names the schema.
    assert text.splitlines()[1:] == Catalog.shipped().blocks()["bottleneck"].read_text("utf-8").splitlines()[1:]
    assert command("resnet-spec", "show", "bottleneck").out == text
    assert all(description for _, description in block_descriptions())


def test_versions_of_each_backend_are_shown(command: Command) -> None:
    from importlib.metadata import version

    done = command("resnet-spec", "--version")

    assert f"torch: torch {version('torch')}" in done.out.splitlines()
    assert f"onnx: onnx {version('onnx')}, onnxruntime {version('onnxruntime')}" in done.out.splitlines()


def test_help_has_the_first_sentence_of_each_command_whole(command: Command) -> None:
    commands = command("resnet-spec", "--help").out.partition("Commands:")[2]

    assert "blocks " in commands
    assert "..." not in commands
