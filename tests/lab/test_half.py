"""The table of half precision is that of the recorded results, in which every network agrees."""

from __future__ import annotations

import json

from tests.lab import half_mutations
from tests.lab.half import BACKENDS, DOCUMENT, EXAMPLES, HEADING, RESULTS, table


def test_every_network_agrees_and_the_page_matches_the_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))

    assert results.keys() >= EXAMPLES.keys()
    assert all(own[name] <= own["bound"] for found in results.values() for own in found.values() for name in BACKENDS)
    assert DOCUMENT.read_text(encoding="utf-8").partition(HEADING)[2] == table(results)


def test_the_page_says_how_many_mistakes_half_precision_hides() -> None:
    results = json.loads(half_mutations.RESULTS.read_text(encoding="utf-8"))

    assert results.keys() == {mutation.name for mutation in half_mutations.chosen()}
    assert half_mutations.split_document()[1] == half_mutations.section(results)
