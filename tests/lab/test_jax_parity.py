"""docs/jax.md has the results of the current networks, none of which differs."""

from __future__ import annotations

import json

from tests.lab.jax_parity import DOCUMENT, RESULTS, document, is_current
from tests.shipped import shipped


def test_every_network_agrees_and_the_page_matches_the_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert {found["verdict"] for found in results.values() if "bound" in found} == {"agrees"}
    assert max(found["float64"] for found in results.values() if "bound" in found) < 1e-9
    text = DOCUMENT.read_text("utf-8")
    assert text == document(text, results), "run python -m tests.lab.jax_parity --seconds 0"


def test_the_results_are_of_the_current_networks() -> None:
    results = json.loads(RESULTS.read_text())
    assert [name for name, found in results.items() if "bound" in found and not is_current(shipped(name), found)] == []
