"""docs/training-parity.md has the table of the results, which are of the current networks."""

from __future__ import annotations

import json

from tests.lab.training import OVERFLOWING, PARTS, RESULTS, current, fingerprint, split_document, tables


def test_every_network_has_a_result_of_its_present_architecture() -> None:
    results = json.loads(RESULTS.read_text())
    assert results.keys() == {part.spec for part in PARTS}
    assert [part.spec for part in PARTS if results[part.spec]["fingerprint"] != fingerprint(part)] == []


def test_the_document_holds_the_table_of_the_results() -> None:
    assert split_document()[1] == tables(json.loads(RESULTS.read_text()))


def test_the_backends_trained_alike() -> None:
    results = json.loads(RESULTS.read_text())
    found = [current(results, part) for part in PARTS]
    assert all("float64" in precisions for precisions in found)
    wrong = {
        (part.spec, precision, row["backend"])
        for part, precisions in zip(PARTS, found, strict=True)
        for precision, rows in precisions.items()
        for row in rows
        if not row["passed"]
    }
    assert {(spec, precision) for spec, precision, _ in wrong} == OVERFLOWING
