"""What a notebook shows of an object: tables and texts as HTML, in the notebook's own colors and fonts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from resnet_spec.errors import printable


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Return a table below a title; cells that are numbers are aligned on the right.

    Args:
        title: What the table is of.
        headings: One for each column.
        rows: One text for each column.
        note: A line below the table.

    Examples:
        >>> table("net", ["layer", "parameters"], [["fc", "1,000"]]).count("text-align:right")
        2
    """
    body = [list(row) for row in rows]
    right = [bool(body) and all(_is_number(row[place]) for row in body) for place in range(len(headings))]
    lines = [_row("th", headings, right), *(_row("td", row, right) for row in body)]
    after = f"<div>{_escaped(note)}</div>" if note else ""
    return f"<div><b>{_escaped(title)}</b></div><table>{''.join(lines)}</table>{after}"


def picture(svg: str, name: str) -> str:
    """Return a drawing as an image, since JupyterLab removes the shapes of inline SVG in notebooks it does not trust.

    Args:
        svg: The drawing.
        name: What it shows.

    Examples:
        >>> picture("<svg/>", "net")
        '<img alt="drawing of net" src="data:image/svg+xml;base64,PHN2Zy8+">'
    """
    data = b64encode(svg.encode()).decode()
    return f'<img alt="drawing of {_escaped(name)}" src="data:image/svg+xml;base64,{data}">'


def folded(title: str, text: str) -> str:
    """Return a text with its line breaks, which a click on its title shows."""
    return f"<details><summary>{_escaped(title)}</summary><pre>{_escaped(text)}</pre></details>"


def _escaped(text: str) -> str:
    return escape(printable(text))


def _row(tag: str, cells: Sequence[str], right: Sequence[bool]) -> str:
    sides = ["right" if is_right else "left" for is_right in right]
    items = (
        f'<{tag} style="text-align:{side}">{_escaped(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(items)}</tr>"


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("-", "") or text == "inf"
