"""The project's public text uses the field's words and American spelling."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, without_code
from tests.docs.words import findings, text_of_code

FOLDERS = ("resnet_spec", "backends", "specs", "tests", "benchmarks")

# The phrases themselves, a misspelled key that is rejected, and a status of GitHub's.
QUOTED = (
    "tests/docs/test_words.py",
    "tests/docs/words.py",
    "tests/resnet_spec/errors/test_validation.py: 'licence'",
    "tests/project/test_workflows.py: 'cancelled'",
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_use_plain_words(document: str) -> None:
    assert list(findings(without_code(document))) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_and_specs_use_plain_words(folder: str) -> None:
    texts = {path: text_of_code(path) for path in (ROOT / folder).rglob("*.py")}
    texts |= {path: path.read_text("utf-8") for path in (ROOT / folder).rglob("*.yaml")}
    found = [f"{path.relative_to(ROOT).as_posix()}: {line}" for path, text in texts.items() for line in findings(text)]
    assert [line for line in found if not re.sub(r" line \d+:", "", line).startswith(QUOTED)] == []


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


def test_phrases_in_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text('def test_an_error_is_told() -> None:\n    """Nothing."""\n', "utf-8")
    assert len(list(findings(text_of_code(tmp_path / "code.py")))) == 1
