"""What goes wrong in a broken file is reported in words, and not in Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.weights.formats.binary import reporting

Lines = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "x: needs more memory than there is"),
        (KeyError("path"), "x: is broken (it lacks 'path')"),
        (KeyError("there is no item named 'a'"), "x: is broken (there is no item named 'a')"),
        (TypeError("'NoneType' object is not subscriptable"), "x: is broken (a part of it is not what the format has"),
        (AttributeError("'int' object has no attribute 'a'"), "x: is broken (a part of it is not what the format has"),
        (ValueError("one\ntwo"), "x: is broken (one)"),
        (ValueError(), "x: is broken (ValueError)"),
        (ValueError("word " * 100), f"x: is broken ({'word ' * 39}…)"),
    ],
)
def test_an_error_is_reported_in_words(lines: Lines, error: Exception, said: str) -> None:
    def fail() -> Any:
        with reporting(Path("x"), "is broken"):
            raise error

    (line,) = lines(fail)
    assert line.startswith(said)
