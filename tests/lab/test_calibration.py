"""docs/calibration.md has the results of the current networks, without false alarms."""

from __future__ import annotations

import json

from tests.lab.calibration import DOCUMENT, RESULTS, document, roundings
from tests.shipped import shipped


def test_every_network_agrees_and_the_page_matches_the_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert {found["verdict"] for found in results.values() if "bound" in found} == {"agrees"}
    assert DOCUMENT.read_text("utf-8") == document(results), "run make calibration"


def test_the_results_are_of_the_current_networks() -> None:
    results = json.loads(RESULTS.read_text())
    graphs = {name: shipped(name) for name in results}
    now = {name: (graph.fingerprint, roundings(graph)) for name, graph in graphs.items()}
    assert {name: (found["fingerprint"], found["roundings"]) for name, found in results.items()} == now
