"""Mistakes in 8-bit forms are located, and the page has the recorded results; the lab runs all of them."""

from __future__ import annotations

import json

import pytest

from tests.lab.quantized_mutations import DOCUMENT, HEADING, MUTATIONS, RESULTS, comparing, table

SAMPLE = {
    "torch": ("one scale for the whole kernel", "values rounded down", "halves rounded up"),
    "onnx": ("a kernel that is not symmetric", "a zero point larger by 1 only where the value is read"),
}


def test_every_mutation_is_recorded_and_the_page_matches() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    assert results.keys() == MUTATIONS.keys()
    assert all(row["located"] for row in results.values())
    assert table(results) in DOCUMENT.read_text("utf-8").partition(HEADING)[2]


@pytest.mark.slow
def test_some_are_located() -> None:
    with comparing(*SAMPLE) as run:
        for runtime, names in SAMPLE.items():
            assert run(None, runtime).located
            for name, mutation in MUTATIONS.items():
                if mutation.runtime == runtime and name.startswith(names):
                    assert run(mutation, runtime).located, name
