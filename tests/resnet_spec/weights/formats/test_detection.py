"""A format is known by a file's bytes."""

from __future__ import annotations

from io import BytesIO

import pytest

from resnet_spec.weights.formats import detection


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 2**20])
def test_a_pattern_is_found_wherever_a_block_ends(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(detection, "BLOCK", block)
    content = b"abaabaaab" * 3
    expected = [place for place in range(len(content)) if content.startswith(b"aba", place)]

    assert detection.occurrences(BytesIO(content), b"aba") == expected
    assert detection.occurrences(BytesIO(b""), b"aba") == []
