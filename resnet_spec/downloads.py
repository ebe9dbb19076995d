"""Published weights, fetched into a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_spec.spec import Spec


def resolve(spec: Spec, weights: str | Path) -> Path:
    """The file that ``weights`` means."""
    return Path(weights)
