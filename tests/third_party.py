"""Third-party backends: a distribution with entry points, put on the path of this process and its children."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from resnet_spec.backend.registry import GROUP

WRONG_BACKENDS = Path(__file__).with_name("resnet_spec") / "parity" / "wrong_backends.py"
NUMPY_BACKENDS = WRONG_BACKENDS.with_name("numpy_backends.py")


def distribution(folder: Path, name: str, backends: Mapping[str, str], *modules: Path) -> None:
    """Write a distribution of some backends, each ``module:Class``, and copies of their modules."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    points = "".join(f"{backend} = {value}\n" for backend, value in backends.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}", "utf-8")
    for module in modules:
        (folder / module.name).write_text(module.read_text("utf-8"), "utf-8")


def on_path(patch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Put folders first on the path of this process and its children."""
    for folder in reversed(folders):
        patch.syspath_prepend(folder)
    patch.setenv("PYTHONPATH", python_path(*folders))


def python_path(*folders: Path) -> str:
    """The value of PYTHONPATH with folders put first."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
