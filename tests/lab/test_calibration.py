"""The calibration in docs is of the networks as they are, and none of them rings without a reason."""

from __future__ import annotations

import json

import resnet_spec
from tests.lab.calibration import DOCUMENT, RESULTS, document, roundings


def test_no_network_rings_and_the_document_says_what_was_found() -> None:
    results = json.loads(RESULTS.read_text())
    assert {found["verdict"] for found in results.values() if "bound" in found} == {"agrees"}
    assert DOCUMENT.read_text("utf-8") == document(results), "run make calibration"


def test_what_was_found_is_of_the_networks_as_they_are() -> None:
    results = json.loads(RESULTS.read_text())
    graphs = {name: resnet_spec.load(name).to_graph() for name in results}
    now = {name: (graph.fingerprint, roundings(graph)) for name, graph in graphs.items()}
    assert {name: (found["fingerprint"], found["roundings"]) for name, found in results.items()} == now
