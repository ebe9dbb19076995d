"""The kinds of names in a spec, with the characters that each may have."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from resnet_spec.errors.validation import matching

LayerName = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$",
        "letters, digits, _ and -, in parts joined by dots, a letter or digit first",
    ),
    Field(max_length=100),
]
_COUNTER = r"\{(?:[A-Za-z0-9_.-]+\.)?(?:index|number)\}"
StepName = Annotated[
    str,
    matching(
        rf"^([A-Za-z0-9]|{_COUNTER})([A-Za-z0-9_-]|{_COUNTER})*(\.([A-Za-z0-9_-]|{_COUNTER})+)*$",
        "letters, digits, _ and -, in parts joined by dots, a letter or digit first, and in a repeated step {index} or "
        "{number}",
    ),
    Field(max_length=100),
]
Word = Annotated[
    str, matching(r"^[A-Za-z_][A-Za-z0-9_]*$", "letters, digits and _, no digit first"), Field(max_length=60)
]
SpecName = Annotated[
    str,
    matching(r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", "letters, digits and . _ -, in parts joined by slashes"),
    Field(max_length=100),
]
WeightsName = Annotated[
    str,
    matching(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", "letters, digits and . _ -, a letter or digit first"),
    Field(max_length=100),
]
Prefix = Annotated[
    str,
    matching(
        r"^([A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?)?$",
        "letters, digits, _ and -, in parts joined by dots, a letter or digit first",
    ),
    Field(max_length=100),
]

COUNTERS = ("index", "number", "remaining", "overall_index", "overall_number")
"""What counts the blocks of a stage, or of the network, in a pattern of names."""

_PLACEHOLDERS = ("stage", *COUNTERS, "layer")


def _check_pattern(pattern: str) -> str:
    placeholders = re.findall(r"{([^{}]*)}", pattern)
    rest = re.sub(r"{[^{}]*}", "", pattern)
    if set(placeholders) - set(_PLACEHOLDERS) or not re.fullmatch(r"[A-Za-z0-9_.-]*", rest):
        known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
        raise ValueError(f"a pattern of names may contain {known}, letters, digits and . _ -")
    if "layer" not in placeholders:
        raise ValueError("a pattern of names must contain {layer}")
    return pattern


def counts(pattern: str) -> bool:
    """Whether a pattern of names has a counter, so that two blocks of a stage have different names."""
    return any(f"{{{word}}}" in pattern for word in COUNTERS)


NamePattern = Annotated[str, Field(max_length=200), AfterValidator(_check_pattern)]
