"""What the tests of documents share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec.document.parser import Document
from resnet_spec.errors import SpecError


def lines(call: Callable[[], object]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        call()
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return str(caught.value).splitlines()


def assert_placed(document: Document) -> None:
    """Every key and every value has a position, and nothing else has."""
    keys: set[Any] = set()
    values: set[Any] = {()}

    def walk(data: Any, path: tuple[str | int, ...]) -> None:
        entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, value in entries:
            values.add((*path, key))
            if isinstance(data, dict):
                keys.add((*path, key))
            walk(value, (*path, key))

    walk(document.data, ())
    assert set(document.keys) == keys
    assert set(document.values) == values
