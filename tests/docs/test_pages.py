"""The pages: links lead somewhere, and no page is too long to read."""

from __future__ import annotations

import re

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchors, read, without_code

LONGEST = 250
GROWING = (
    "docs/calibration.md", "docs/imported.md", "docs/modules.md", "docs/mutations.md", "docs/networks.md",
    "docs/round-trip.md",
)  # fmt: skip
"""Pages with a table to which every operation, network or module adds a row; their other lines count."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", without_code(document)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            file = (ROOT / document).parent / path if path else ROOT / document
            assert file.exists(), target
            if anchor:
                assert anchor in anchors(file.read_text("utf-8")), target


def test_every_page_is_linked_from_another() -> None:
    linked = {
        ((ROOT / document).parent / target.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)]+)\)", without_code(document))
        if "://" not in target
    }
    assert [page for page in DOCUMENTS if page != "README.md" and (ROOT / page).resolve() not in linked] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_page_is_too_long(document: str) -> None:
    lines = read(document).splitlines()
    if document in GROWING:
        lines = [line for line in lines if not line.startswith("| ")]
    assert len(lines) <= LONGEST


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {name for names in re.findall(r"^([a-z -]+):(?!=)", makefile, re.MULTILINE) for name in names.split()}
    for document in DOCUMENTS:
        for words in re.findall(r"`make ([a-z -]+)", read(document)):
            assert set(words.split()) <= targets, f"{document}: make {words}"


def test_paths_exist() -> None:
    for document in DOCUMENTS:
        for path in re.findall(r"`((?:resnet_spec|backends|tests|specs|benchmarks)/[\w./-]+)`", read(document)):
            assert (ROOT / path).exists(), f"{document}: {path}"
