"""The list of slow tests names tests that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SLOW_CASES


@pytest.mark.parametrize("line", SLOW_CASES)
def test_each_line_is_how_a_tests_name_begins(line: str) -> None:
    path, _, name = line.partition("::")
    function = name.partition("[")[0].rpartition("::")[2]

    assert f"def {function}(" in (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
