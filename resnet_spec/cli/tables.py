"""Tables that a narrow terminal shows as well: columns are left out or shortened, and numbers are never cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

GAP = 2


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: Its first line.
        align: The side on which texts of different lengths are even.
        least: The width to which a text is shortened in a narrow terminal; 0 for texts that are never cut.
        cut: Where a text is shortened: paths in the middle, since both ends tell them apart, sentences at the end.
        rank: Of the columns that a narrow terminal has no room for, the one with the highest rank is left out first;
            0 stays.
    """

    heading: str
    align: Literal["left", "right"] = "left"
    least: int = 0
    cut: Literal["middle", "end"] = "middle"
    rank: int = 0


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, in a terminal as wide as that, and with its headings in bold."""
    import click

    heading, *lines = fitted_lines(columns, rows, terminal_width())
    click.echo("\n".join([click.style(heading, bold=True) if shows_styles() else heading, *lines]))


def terminal_width() -> int | None:
    """Return the width of the terminal on stdout, None if it is none."""
    from shutil import get_terminal_size

    return get_terminal_size().columns if sys.stdout.isatty() else None


def shows_styles() -> bool:
    """Whether stdout is a terminal that shows bold text, and whose user wants it."""
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def fitted_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Return the lines of a table, the headings first, none of which ends with spaces.

    Args:
        columns: The columns, from left to right.
        rows: One text for each column.
        width: The columns of characters that there are; None for as many as the table needs.
    """
    from rich.cells import cell_len, set_cell_size

    texts = [[column.heading, *(row[place] for row in rows)] for place, column in enumerate(columns)]
    widths = [max(map(cell_len, cells)) for cells in texts]
    shown = _shown(columns, widths, width)
    sizes = _sizes([columns[place] for place in shown], [widths[place] for place in shown], width)
    for place, size in zip(shown, sizes, strict=True):
        column = columns[place]
        cells = [shortened(text, size, column.cut) for text in texts[place]]
        texts[place] = [
            " " * (size - cell_len(text)) + text if column.align == "right" else set_cell_size(text, size)
            for text in cells
        ]
    return [(" " * GAP).join(line).rstrip() for line in zip(*(texts[place] for place in shown), strict=True)]


def _shown(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """Return the places of the columns for which there is room once texts are shortened."""
    shown = list(range(len(columns)))
    while width is not None:
        least = [min(widths[place], columns[place].least or widths[place]) for place in shown]
        ranked = [place for place in shown if columns[place].rank]
        if sum(least) + GAP * (len(shown) - 1) <= width or not ranked:
            break
        shown.remove(max(ranked, key=lambda place: columns[place].rank))
    return shown


def _sizes(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """Return the width of each column: the widest of those that may be shortened give way first."""
    sizes = list(widths)
    while width is not None and sum(sizes) + GAP * (len(sizes) - 1) > width:
        able = [place for place, column in enumerate(columns) if column.least and sizes[place] > column.least]
        if not able:
            break
        sizes[max(able, key=lambda place: sizes[place])] -= 1
    return sizes


def shortened(text: str, size: int, cut: str = "middle") -> str:
    """Return a text of at most a width, with an ellipsis for what it lacks.

    >>> shortened("layer1.0.downsample.0", 12), shortened("ResNet-50 for images", 10, "end")
    ('layer1…ple.0', 'ResNet-50…')
    """
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= size:
        return text
    if cut == "end":
        return set_cell_size(text, size - 1).rstrip() + "…"
    tail = (size - 1) // 2
    return set_cell_size(text, size - 1 - tail).rstrip() + "…" + set_cell_size(text[::-1], tail)[::-1]
