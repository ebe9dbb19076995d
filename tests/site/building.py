"""Writes the site's pages to build/docs, and builds it from there with Zensical."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from tests.docs.documents import ROOT
from tests.site import gallery, python_api

CONFIGURATION = ROOT / "zensical.toml"
BUILD, SITE = ROOT / "build", ROOT / "build" / "site"
PAGES = {name: f"{name.removesuffix('.md').lower()}.md" for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
PAGES["README.md"] = "index.md"
"""Pages beside docs/, with their names on the site."""
FILES = {"tests/site/site.css": "site.css", "tests/node/node_modules/iframe-worker/shim/index.js": "iframe-worker.js"}
"""What the pages load besides Zensical's own files, with their names on the site."""


def configuration() -> dict[str, Any]:
    """The settings of the site."""
    return tomllib.loads(with_families(CONFIGURATION.read_text("utf-8")))["project"]


def build() -> int:
    """Write all pages, check that each is in the navigation, and build the site; the status of the command."""
    settings = configuration()
    folder = BUILD / settings["docs_dir"]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    for name, text in pages(settings["extra"]["social"][0]["link"]).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for name, page in (FILES | pictures()).items():
        shutil.copyfile(ROOT / name, folder / page)
    (BUILD / CONFIGURATION.name).write_text(with_families(CONFIGURATION.read_text("utf-8")), "utf-8")
    return run_zensical(BUILD / CONFIGURATION.name)


def with_families(text: str) -> str:
    """The settings with the page of each family in the navigation, and below it those of its networks."""
    last = '    { "One table of all" = "networks.md" },\n'
    lines: list[str] = []
    for family, names in gallery.families().items():
        below = (f'{{ "{name}" = "{gallery.FOLDER}/{family}/{name}.md" }}' for name in names)
        lines.append(f'    {{ "{family}" = ["{gallery.FOLDER}/{family}/index.md", {", ".join(below)}] }},\n')
    return text.replace(last, "".join((last, *lines)))


def run_zensical(configuration: Path) -> int:
    """Build a site whose warnings are errors, such as a link that leads nowhere."""
    options = "--clean", "--strict", "--config-file", str(configuration)
    return subprocess.run([sys.executable, "-m", "zensical", "build", *options], cwd=configuration.parent).returncode


def pages(repository: str) -> dict[str, str]:
    """Every page and drawing of the site by its name."""
    documents = {page: (ROOT / name).read_text("utf-8") for name, page in sources().items()}
    documents = {page: linked(page, without_badges(text), repository) for page, text in documents.items()}
    return documents | python_api.pages() | gallery.pages(repository)


def sources() -> dict[str, str]:
    """The name on the site of each document of the repository."""
    paths = (path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))
    return PAGES | {path: path.removeprefix("docs/") for path in paths}


def pictures() -> dict[str, str]:
    """The name on the site of each picture of the documents."""
    paths = (path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.*")))
    return {path: path.removeprefix("docs/") for path in paths if not path.endswith(".md")}


def without_badges(text: str) -> str:
    """A document's text without the pictures that another server draws; the site fetches nothing from outside."""
    return re.sub(r"^\[?!\[[^\]]*\]\(https?://.*\n", "", text, flags=re.MULTILINE)


def linked(page: str, text: str, repository: str) -> str:
    """A document's text with its links as the site has them: to pages, or to the repository's files."""
    known = sources() | pictures()
    source = next(name for name, target in known.items() if target == page)

    def replaced(found: re.Match[str]) -> str:
        path, mark, anchor = found["link"].partition("#")
        target = normpath(f"{dirname(source)}/{path}").lstrip("/") if path else ""
        if not path or ":" in path or not (ROOT / target).exists():
            return found[0]
        if target in known:
            link = f"{relpath(known[target], dirname(page) or '.')}{mark}{anchor}"
        else:
            link = f"{repository}/blob/main/{target}{mark}{anchor}"
        return found[0].replace(found["link"], link)

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    links = partial(re.sub, r"(?:\]\(|src=\")(?P<link>[^)\"\s]+)[)\"]", replaced)
    return "".join(part if part.startswith("```") else links(part) for part in parts)


def entries(navigation: Any) -> Iterator[str]:
    """Every page of the navigation."""
    if isinstance(navigation, str):
        yield navigation
    else:
        for part in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from entries(part)
