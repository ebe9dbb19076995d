"""Tables at every width: numbers are whole, and what gives way is said by the columns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rich.cells import cell_len

from resnet_spec.cli.tables import Column, fitted_lines, shortened

if sys.platform != "win32":
    import pty

COLUMNS = [
    Column("layer", least=10),
    Column("type", rank=1),
    Column("parameters", "right"),
    Column("in all", "right", rank=2),
    Column("description", least=12, cut="end"),
]
ROWS = [
    ("layer1.0.downsample.0", "Conv2d", "16,384", "16,384", "a projection of the shortcut"),
    ("bn1", "BatchNorm2d", "1,024,000", "2,048,000", "after the 1×1 convolution"),
]


def test_a_table_that_is_piped_is_whole_and_ends_without_spaces() -> None:
    assert fitted_lines(COLUMNS, ROWS) == [
        "layer                  type         parameters     in all  description",
        "layer1.0.downsample.0  Conv2d           16,384     16,384  a projection of the shortcut",
        "bn1                    BatchNorm2d   1,024,000  2,048,000  after the 1×1 convolution",
    ]


@pytest.mark.parametrize("width", range(37, 90))
def test_numbers_are_whole_at_every_width(width: int) -> None:
    lines = fitted_lines(COLUMNS, ROWS, width)

    assert max(map(cell_len, lines)) <= width
    assert "16,384" in lines[1]
    assert "1,024,000" in lines[2]
    # Of the columns that may be left out the one with the highest rank goes first.
    assert ("in all" in lines[0]) <= ("type" in lines[0])


def test_texts_are_shortened_before_columns_are_left_out() -> None:
    assert fitted_lines(COLUMNS, ROWS, 66)[:2] == [
        "layer           type         parameters     in all  description",
        "layer1.…mple.0  Conv2d           16,384     16,384  a projection…",
    ]
    assert fitted_lines(COLUMNS, ROWS, 36)[0].split() == ["layer", "parameters", "description"]


def test_characters_of_two_columns_are_counted_as_two() -> None:
    lines = fitted_lines([Column("名前"), Column("n", "right")], [("畳み込み", "1"), ("x", "22")])

    assert lines == ["名前       n", "畳み込み   1", "x         22"]


@pytest.mark.parametrize(
    ("text", "size", "cut", "expected"),
    [
        ("conv1", 5, "middle", "conv1"),
        ("layer1.0.conv1", 9, "middle", "laye…onv1"),
        ("a sentence", 6, "end", "a sen…"),
        ("a sentence", 3, "end", "a…"),
        ("畳み込み", 5, "middle", "畳…み"),
    ],
)
def test_a_text_is_shortened_where_it_tells_least(text: str, size: int, cut: str, expected: str) -> None:
    assert shortened(text, size, cut) == expected
    assert cell_len(expected) <= size


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("arguments", [["summary", "resnet50"], ["show", "resnet50", "--graph"], ["list", "timm/"]])
def test_commands_fit_a_terminal_of_80_columns(arguments: list[str]) -> None:
    lines = in_terminal(arguments, 80)

    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    assert ("2,359,296" in text) == (arguments[0] == "summary")
    assert ("    conv2d(channels=64, kernel=7, stride=2, padding=3)" in lines) == (arguments[0] == "show")
    assert not any(line.endswith(" ") for line in lines)


def in_terminal(arguments: list[str], width: int) -> list[str]:
    """The lines that ``resnet-spec`` prints in a terminal without styles."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-m", "resnet_spec", *arguments], stdout=theirs, env=environment) as done:
        os.close(theirs)
        parts: list[bytes] = []
        try:
            while part := os.read(ours, 100_000):
                parts.append(part)
        except OSError:
            # The end of a terminal is an error on Linux.
            pass
    os.close(ours)
    assert done.returncode == 0
    return b"".join(parts).decode().splitlines()
