"""Hugging Face transformers' layout of a ResNet: a folder with config.json, and names of its own for every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph


def check_configuration(file: Path, graph: Graph) -> None:
    """Raise WeightsError where the config.json beside a weights file describes another network than ``graph``."""


def write_folder(
    path: Path, graph: Graph, arrays: Mapping[str, NDArray[Any]], *, half: bool = False, force: bool = False
) -> None:
    """Write a folder that ``ResNetForImageClassification.from_pretrained`` loads."""
    raise NotImplementedError
