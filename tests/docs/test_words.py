"""The project's public text uses the field's words and American spelling."""

from __future__ import annotations

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, without_code
from tests.docs.words import findings, text_of_code

FOLDERS = ("resnet_spec", "backends", "specs")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_use_plain_words(document: str) -> None:
    assert list(findings(without_code(document))) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_and_specs_use_plain_words(folder: str) -> None:
    texts = {path: text_of_code(path) for path in (ROOT / folder).rglob("*.py")}
    texts |= {path: path.read_text("utf-8") for path in (ROOT / folder).rglob("*.yaml")}
    found = {path.relative_to(ROOT).as_posix(): list(findings(text)) for path, text in texts.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Nothing is told of it.", "'is told'"),
        ("The error is mended.", "'mended'"),
        ("It hangs on the size.", "'hangs on'"),
        ("a normalisation", "'normalisation'"),
        ("the licence", "'licence'"),
    ],
)
def test_phrases_to_avoid_are_found(text: str, found: str) -> None:
    assert [finding.partition(" →")[0] for finding in findings(text)] == [f"line 1: {found}"]
