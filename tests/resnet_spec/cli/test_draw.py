"""``resnet-spec draw``: each format, what it refuses, and what it says of large drawings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.needs import need

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "start"),
    [("net.svg", b"<svg "), ("net.HTML", b"<!DOCTYPE html>"), ("net.dot", b"digraph "), ("net.mmd", b"flowchart TD")],
)
def test_the_ending_decides_the_format(command: Command, tmp_path: Path, name: str, start: bytes) -> None:
    done = command("resnet-spec", "draw", "cifar/resnet20", "--expand", "layer2", "-o", tmp_path / name)

    assert (done.status, done.out, done.err) == (0, "", "")
    assert (tmp_path / name).read_bytes().startswith(start)
    assert b"3\xc3\x973 conv, 32" in (tmp_path / name).read_bytes()


def test_a_png_is_an_image(command: Command, tmp_path: Path) -> None:
    need("resvg_py")
    assert command("resnet-spec", "draw", "cifar/resnet20", "-o", tmp_path / "net.png").status == 0
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_without_an_output_the_svg_is_printed(command: Command) -> None:
    done = command("resnet-spec", "draw", "cifar/resnet20", "--set", "parameters.classes=7", "--color", "params")

    assert done.status == 0
    assert done.out.startswith("<svg ")
    assert "linear, 7<" in done.out


def test_an_existing_file_is_replaced(command: Command, tmp_path: Path) -> None:
    (tmp_path / "net.svg").write_text("before", "utf-8")

    assert command("resnet-spec", "draw", "cifar/resnet20", "-o", tmp_path / "net.svg").status == 0
    assert (tmp_path / "net.svg").read_text("utf-8").startswith("<svg ")


def test_differences_from_another_network_are_marked_in_both(command: Command) -> None:
    done = command(
        "resnet-spec", "draw", "cifar/resnet20", "--set", "stages.layer3.repeat=4", "--against", "cifar/resnet20"
    )
    changed = command(
        "resnet-spec", "draw", "cifar/resnet20", "--set", "stages.layer3.stride=1", "--against", "cifar/resnet20"
    )

    # Once in the drawing, and once in its legend.
    assert done.out.count('class="marked m-added"') == 2
    assert changed.out.count('class="marked m-changed"') >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "net.pdf"], "net.pdf: the name must end in one of .svg, .html"),
        (["-o", "net.dot", "--color", "macs"], "--against and --color are for .svg, .html and .png"),
        (["--input", "3x64x64", "-o", "net.svg"], "--input is for models; override a spec's input instead"),
        (["-o", "no/net.svg"], "no/net.svg: the folder no does not exist"),
        (["--expand", "layer4"], "no stage or block is named 'layer4'; did you mean 'layer3'? (known: layer1, layer2,"),
    ],
)
def test_mistakes_are_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("resnet-spec", "draw", "cifar/resnet20", *arguments)

    assert done.status in (2, 3)
    assert says in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_of_thousands_of_operations_is_drawn_with_a_note(command: Command, tmp_path: Path) -> None:
    done = command("resnet-spec", "draw", "cifar/resnet1202", "--nodes", "-o", tmp_path / "net.svg")

    assert done.status == 0
    assert done.err == "4,210 operations are drawn; without --nodes equal blocks are drawn once\n"
    assert (tmp_path / "net.svg").stat().st_size < 5_000_000


def test_a_model_is_drawn(command: Command, tmp_path: Path) -> None:
    need("onnx")
    command("resnet-build", "cifar/resnet20", "--backend", "onnx", "--output", tmp_path / "net.onnx")
    done = command("resnet-spec", "draw", tmp_path / "net.onnx")

    assert done.status == 0
    assert ">3 ×<" in done.out
