"""Writes docs/modules.md from the first sentence of each module's docstring: ``python -m tests.docs.modules``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.docs.documents import ROOT

PAGE = ROOT / "docs/modules.md"
PACKAGES = (
    *("resnet_spec", "backends/resnet_spec_torch", "backends/resnet_spec_tensorflow"),
    "backends/resnet_spec_onnx",
)
HEAD = """# Modules

Every package and module with its purpose, generated from the docstrings by `make modules`; do not edit.
[Design](design.md#packages) explains how the packages depend on each other.
"""


def page() -> str:
    """The text of the page."""
    parts = [HEAD]
    for package in packages():
        rows = [
            f"| `{path.relative_to(package).with_suffix('').as_posix()}` | {purpose(path)} |\n"
            for path in modules(package)
        ]
        table = "".join(["\n| module | purpose |\n|---|---|\n", *rows]) if rows else ""
        parts.append(f"## `{package.relative_to(ROOT).as_posix()}`\n\n{purpose(package / '__init__.py')}\n{table}")
    return "\n".join(parts)


def packages() -> Iterator[Path]:
    """The core, its packages, and the backends."""
    for name in PACKAGES:
        yield ROOT / name
        if name == "resnet_spec":
            yield from sorted(path.parent for path in (ROOT / name).glob("*/__init__.py"))


def modules(package: Path) -> list[Path]:
    """The modules of a package, with those of nested packages except the core's own packages."""
    paths = package.glob("*.py") if package.name == "resnet_spec" else package.rglob("*.py")
    return sorted(path for path in paths if path != package / "__init__.py")


def purpose(path: Path) -> str:
    """The first paragraph of a module's docstring, in one line of Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
