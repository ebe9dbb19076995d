"""Writes results as strict JSON, which has neither NaN nor infinity."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from pathlib import PurePath
from typing import Any, cast


def plain_data(value: Any) -> Any:
    """Return a value as data that JSON can represent: NaN and infinity become None.

    Dataclasses and mappings become dictionaries with text as keys, other collections and arrays lists, paths text;
    raises TypeError for anything else.
    """
    if value is None or isinstance(value, str | bool | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        # Python's own type, of which NumPy's float64 is a subclass.
        return float(value) if isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_data(getattr(value, field.name)) for field in fields(value)}
    value = cast("Any", value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): plain_data(item) for key, item in items}
    if hasattr(value, "tolist"):
        # NumPy's arrays and scalars, which the core may not have imported.
        return plain_data(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain_data(item) for item in cast("Iterable[Any]", value)]
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return a value as indented JSON; see ``plain_data``."""
    return json.dumps(plain_data(value), indent=2, ensure_ascii=ascii_only, allow_nan=False)
