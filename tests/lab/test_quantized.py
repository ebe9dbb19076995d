"""Every recorded 8-bit network agrees with the exact reference in every runtime, and the page has the results."""

from __future__ import annotations

from tests.lab.quantized import DOCUMENT, HEADING, alarms, recorded, table


def test_there_is_no_false_alarm_and_the_page_matches_the_results() -> None:
    results = recorded()
    assert results
    assert alarms(results) == 0
    assert all(run["codes"] <= 1.001 for found in results.values() for run in found["runtimes"].values())
    assert DOCUMENT.read_text("utf-8").partition(HEADING)[2].startswith(table(results))
