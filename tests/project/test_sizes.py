"""No module of the core is longer than a reader takes in."""

from __future__ import annotations

from pathlib import Path

CORE = Path(__file__).parents[2] / "resnet_spec"

LIMIT = 450

CATALOG = "parity/hypotheses.py"
"""A list of known mistakes, which is read entry by entry."""


def test_modules_of_the_core_are_short() -> None:
    lines = {
        path.relative_to(CORE).as_posix(): len(path.read_text("utf-8").splitlines()) for path in CORE.rglob("*.py")
    }
    assert CATALOG in lines
    assert {name: count for name, count in lines.items() if count > LIMIT} == {CATALOG: lines[CATALOG]}
