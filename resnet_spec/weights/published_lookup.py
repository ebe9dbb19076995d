"""Published weights by name, and whether a text names weights or a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from resnet_spec.errors import WeightsError, suggest
from resnet_spec.spec.loader import load
from resnet_spec.spec.published import Published
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.formats.detection import find_file

_OF_ANOTHER_SPEC = re.compile(r"(?P<spec>[\w./-]{2,}):(?P<name>[\w.-]+)", re.ASCII)
"""``SPEC:NAME``; the spec has at least two characters, so that ``C:file`` stays a path."""


def find(spec: Spec, name: str) -> Published:
    """A spec's published weights by their name, or another's by ``SPEC:NAME`` (``torchvision/resnet50:IMAGENET1K_V2``).

    Raises WeightsError if the spec has no weights of that name, and SpecError if there is no such spec.
    """
    if name in spec.weights:
        return spec.weights[name]
    if other := _OF_ANOTHER_SPEC.fullmatch(name):
        spec, name = load(other["spec"]), other["name"]
    if name not in spec.weights:
        known = f" (known: {', '.join(spec.weights)})" if spec.weights else ""
        raise WeightsError(f"{spec.name} has no published weights {name!r}{suggest(name, spec.weights)}{known}")
    return spec.weights[name]


def is_path(spec: Spec, weights: str) -> bool:
    """Whether a text means a file: one exists, or it looks like a path and is not a name of published weights."""
    if os.path.lexists(weights) or find_file(Path(weights)) is not None:
        return True
    if weights in spec.weights or _OF_ANOTHER_SPEC.fullmatch(weights):
        return False
    return not spec.weights or any(character in weights for character in {".", "/", os.sep})
