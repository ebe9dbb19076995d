"""The documents: their pages, code blocks, tables, sections and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    *sorted(path.name for path in ROOT.glob("*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)


class Block(NamedTuple):
    """A fenced block: where it starts, its language, and its text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the first line names."""
        found = re.match(r"# ([\w./-]+\.\w+)$", self.text.partition("\n")[0])
        return found[1] if found else None


def blocks(document: str, text: str) -> list[Block]:
    found: list[Block] = []
    fence = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in fence.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(document, line, match[1], match[2]))
    return found


def read(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


class Table(NamedTuple):
    """A table of a document: its headings, and its rows as mappings."""

    headings: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def tables(text: str) -> Iterator[Table]:
    for lines in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines.splitlines()]
        yield Table(tuple(rows[0]), tuple(dict(zip(rows[0], row, strict=True)) for row in rows[2:]))


def table(document: str, *headings: str) -> Table:
    """The one table with these headings."""
    found = [table for table in tables(read(document)) if table.headings == headings]
    assert len(found) == 1, f"{document} has {len(found)} tables with the headings {headings}"
    return found[0]


def section(document: str, heading: str) -> str:
    """The text below a heading, down to the next heading of its level or above, without code blocks."""
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    found = re.search(rf"^(#+) {re.escape(heading)}$\n", text, re.MULTILINE)
    assert found, f"{document} has no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def ticked(text: str) -> str:
    """The text of a cell that consists of one pair of backticks."""
    found = re.fullmatch(r"`([^`]+)`", text)
    assert found, f"{text!r} is not in backticks"
    return found[1]


def first_columns(document: str, heading: str, column: str) -> list[str]:
    """The first column, which has this heading, of every table below a heading and above the next one."""
    body = re.split(r"^#", section(document, heading), maxsplit=1, flags=re.MULTILINE)[0]
    return [ticked(row[column]) for table in tables(body) if table.headings[0] == column for row in table.rows]


def without_code(document: str) -> str:
    """The text without its code blocks and without what is in backticks, on the lines where it is."""
    code = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
    return code.sub(lambda found: "\n" * found[0].count("\n"), read(document))


def anchors(text: str) -> list[str]:
    """The anchors of the headings of a page, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
