"""The page is what the cases say, and names tests that exist."""

from __future__ import annotations

from pathlib import Path

from tests.wild.table import ELSEWHERE, PAGE, page
from tests.wild.torch_cases import CASES

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page()


def test_the_page_has_sixty_rows_and_every_test_exists() -> None:
    assert len(CASES) >= 60
    assert len({case.title for case in CASES}) == len(CASES)
    assert [row.test for row in ELSEWHERE if not (ROOT / row.test).is_file()] == []
