"""Writes docs/modules.md and docs/backend-modules.md from the docstrings: ``python -m tests.docs.modules``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.docs.documents import ROOT

CORE = ROOT / "resnet_spec"
BACKENDS = tuple(ROOT / "backends" / f"resnet_spec_{name}" for name in ("torch", "keras", "tensorflow", "jax", "onnx"))
HEADS = {
    "docs/modules.md": """# Modules

Every package and module of the core with its purpose, generated from the docstrings by `make modules`; do not edit.
[Design](design.md#packages) explains how the packages depend on each other, and
[modules of the backends](backend-modules.md) lists the backends.
""",
    "docs/backend-modules.md": """# Modules of the backends

Every module of the backends with its purpose, generated from the docstrings by `make modules`; do not edit. The core is
listed in [modules](modules.md).
""",
}


def pages() -> dict[str, str]:
    """The text of each page, by its path."""
    texts = {page: [head] for page, head in HEADS.items()}
    for package in packages():
        rows = [f"| `{module(path, package)}` | {purpose(path)} |\n" for path in modules(package)]
        table = "".join(["\n| module | purpose |\n|---|---|\n", *rows]) if rows else ""
        page = "docs/backend-modules.md" if package in BACKENDS else "docs/modules.md"
        texts[page].append(
            f"## `{package.relative_to(ROOT).as_posix()}`\n\n{purpose(package / '__init__.py')}\n{table}"
        )
    return {page: "\n".join(parts) for page, parts in texts.items()}


def module(path: Path, package: Path) -> str:
    """A module's name below its package; a nested package has the name of its folder."""
    inside = path.relative_to(package).with_suffix("").as_posix()
    return inside.removesuffix("__init__")


def packages() -> Iterator[Path]:
    """The core, its packages, and the backends."""
    yield CORE
    yield from sorted(path.parent for path in CORE.glob("*/__init__.py"))
    yield from BACKENDS


def modules(package: Path) -> list[Path]:
    """The modules of a package, with those of nested packages except the core's own packages."""
    paths = package.glob("*.py") if package == CORE else package.rglob("*.py")
    return sorted(path for path in paths if path != package / "__init__.py")


def purpose(path: Path) -> str:
    """The first paragraph of a module's docstring, in one line of Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")
