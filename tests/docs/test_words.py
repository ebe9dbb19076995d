"""The project's public text uses the field's words and American spelling."""

from __future__ import annotations

import pytest

from tests.docs.documents import DOCUMENTS, without_code
from tests.docs.words import findings

FROM_DOCSTRINGS = ("docs/modules.md", "docs/backend-modules.md")


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document not in FROM_DOCSTRINGS])
def test_documents_use_plain_words(document: str) -> None:
    assert list(findings(without_code(document))) == []


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
