"""The reference of the language says what the docstrings say."""

from __future__ import annotations

import pytest

from resnet_spec.operations.base import describe
from tests.docs.language import FOLDER, KEYS, operations, page, pages


@pytest.mark.parametrize("name", pages())
def test_what_is_generated_is_up_to_date(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert page(name, text) == text, "run 'make schema'"


def test_every_heading_with_keys_exists() -> None:
    for name, heading in KEYS:
        assert f" {heading}\n" in (FOLDER / name).read_text("utf-8"), (name, heading)


def test_every_operation_has_a_section() -> None:
    text = "".join(path.read_text("utf-8") for path in sorted((FOLDER / "language/operations").glob("*.md")))
    assert [name for name in operations() if text.count(f"\n## `{name}`\n") != 1] == []


def test_a_changed_page_is_written_again() -> None:
    name = "language/operations/activation.md"
    text = (FOLDER / name).read_text("utf-8")
    field = describe(operations()["leaky_relu"])[1]["slope"]
    changed = text.replace(field, "x").replace("max(x, 0)", "y")
    assert changed != text
    assert page(name, changed) == text
