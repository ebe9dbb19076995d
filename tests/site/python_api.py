"""Pages of the Python API: the public names by the headings of ``resnet_spec/__init__.pyi``, and public packages."""

from __future__ import annotations

import ast
import re
from importlib import import_module

from tests.docs.documents import ROOT

STUB = ROOT / "resnet_spec" / "__init__.pyi"
HEAD = """# Python

All names of `import resnet_spec`, and the packages with names of their own.

| page | names |
|---|---|
"""


def pages() -> dict[str, str]:
    """The page of each heading and of each package, and the list of all."""
    found: dict[str, str] = {}
    rows: list[str] = []
    for heading, names in headings().items():
        page = f"{re.sub('[^a-z]+', '-', heading.lower()).strip('-')}.md"
        found[f"python/{page}"] = _page(heading, [f"resnet_spec.{name}" for name in names])
        rows.append(f"| [{heading}]({page}) | {', '.join(f'`{name}`' for name in names)} |")
    for name in packages():
        package = import_module(f"resnet_spec.{name}")
        own = [one for one in package.__all__ if getattr(getattr(package, one), "__doc__", None) and not one.isupper()]
        found[f"python/{name}.md"] = _page(f"`resnet_spec.{name}`", [f"resnet_spec.{name}.{one}" for one in own])
        purpose = (package.__doc__ or "").partition("\n\n")[0]
        rows.append(f"| [`resnet_spec.{name}`]({name}.md) | {purpose} |")
    return found | {"python/index.md": HEAD + "\n".join(rows) + "\n"}


def headings() -> dict[str, list[str]]:
    """The public names below each comment of the stub."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^# (?=[A-Z])", STUB.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        comment, _, code = part.partition("\n")
        names = _imported(code, from_package=False)
        if names:
            found[comment.strip().rstrip(".")] = names
    return found


def packages() -> list[str]:
    """The public packages."""
    return _imported(STUB.read_text("utf-8"), from_package=True)


def _imported(code: str, *, from_package: bool) -> list[str]:
    """The names that statements import from the package itself (``from . import graph``), or from its modules."""
    nodes = [node for node in ast.parse(code).body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in nodes if from_package != bool(node.module) for alias in node.names]


def _page(title: str, names: list[str]) -> str:
    return f"# {title}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"
