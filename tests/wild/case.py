"""One kind of file: who makes it, how it is read, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

Model = TypeVar("Model")


@dataclass(frozen=True)
class Case(Generic[Model]):
    """A file of a network.

    Attributes:
        title: What it is, as the table says it.
        made_by: Whose code makes it; "by hand" where that does not run here.
        make: Write the model's file below a folder, and return its path.
        options: What ``read_weights`` needs, such as ``{"take": "encoder_q"}``.
        overrides: What the spec needs.
        refused: What the error says, where the file is not read without the options, or not at all.
        why: Why it is not read at all.
    """

    title: str
    made_by: str
    make: Callable[[Model, Path], Path]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    refused: str = ""
    why: str = ""

    @property
    def flags(self) -> str:
        """The options as the commands take them."""
        words: list[str] = []
        for name, value in self.options.items():
            flag = f"--{name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {value}")
        return " ".join([*words, *(f"--set {key}={json.dumps(value)}" for key, value in self.overrides.items())])
