"""The site has every page, and its links lead somewhere."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import resnet_spec
from tests.browser import browser
from tests.docs.documents import blocks, read
from tests.site import building, gallery, python_api

TUTORIAL = "docs/tutorial.md"
NAVIGATION = building.configuration()["nav"]
REPOSITORY = "https://github.com/someone/resnet-spec"


def test_the_navigation_lists_every_page() -> None:
    networks = {f"{gallery.FOLDER}/{name}.md" for name in resnet_spec.available()}
    families = {f"{name.rpartition('/')[0]}/index.md" for name in networks}
    wanted = {*building.sources().values(), *python_api.pages(), *networks, *families, f"{gallery.FOLDER}/index.md"}

    listed = sorted(building.entries(NAVIGATION))
    assert listed == sorted(wanted), f"change nav in zensical.toml: {wanted ^ set(listed)}"


def test_the_kinds_of_page_are_apart() -> None:
    kinds = [name for entry in NAVIGATION for name in entry]

    assert kinds == ["Overview", "Tutorial", "How-to", "Reference", "Explanation", "Networks"]


@pytest.mark.parametrize(
    ("page", "link", "wanted"),
    [
        ("index.md", "docs/commands.md#overrides", "commands.md#overrides"),
        ("index.md", "LICENSE", f"{REPOSITORY}/blob/main/LICENSE"),
        ("tutorial.md", "../README.md#install", "index.md#install"),
        ("language/index.md", "../../README.md", "../index.md"),
        ("language/operations/joining.md", "../blocks.md", "../blocks.md"),
        ("parity.md", "../tests/lab/specs", f"{REPOSITORY}/blob/main/tests/lab/specs"),
        ("index.md", "docs/resnet18.svg", "resnet18.svg"),
        ("parity.md", "#bounds", "#bounds"),
        ("parity.md", "https://example.org", "https://example.org"),
    ],
)
def test_links_are_those_of_the_site(page: str, link: str, wanted: str) -> None:
    code = f"```text\n[a]({link})\n```\n"
    picture = '<img src="{}">\n'

    assert building.linked(page, f"[a]({link})\n{code}", REPOSITORY) == f"[a]({wanted})\n{code}"
    assert building.linked(page, picture.format(link), REPOSITORY) == picture.format(wanted)


def test_badges_are_left_out() -> None:
    assert building.without_badges("a\n[![b](https://example.org/b.svg)](LICENSE)\n![c](c.svg)\n") == "a\n![c](c.svg)\n"


def test_the_python_pages_have_every_public_name() -> None:
    text = "".join(python_api.pages().values())

    missing = {name for name in resnet_spec.__all__ if f"::: resnet_spec.{name}\n" not in text}
    assert missing == set(python_api.packages())


class Page(HTMLParser):
    """The anchors, links and pictures of a built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif "src" in values:
            self.loaded.add(values["src"])
        elif tag == "link" and values.get("rel") in {"stylesheet", "icon", "preload"}:
            self.loaded.add(values["href"])


@pytest.fixture(scope="module")
def site() -> Path:
    """The site as ``make site`` builds it."""
    assert building.build() == 0
    return building.SITE


@pytest.mark.slow
def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for path, page in pages.items():
        for link in page.links | page.loaded:
            target, anchor = urldefrag(link)
            if path.name == "404.html" or ":" in target.partition("/")[0]:
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            if file.is_dir():
                file /= "index.html"
            if not file.exists() or (file in pages and unquote(anchor) not in pages[file].anchors):
                wrong[link].append(path.relative_to(site).as_posix())
    assert dict(wrong) == {}


@pytest.mark.slow
def test_the_search_needs_no_server_and_nothing_from_outside(site: Path) -> None:
    with browser() as chromium:
        page = chromium.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "gallery/timm/resnet50.html").as_uri())
        page.keyboard.press("Control+k")
        page.get_by_placeholder("Search").last.fill("squeeze excite")
        page.get_by_text("Your first variant").last.wait_for()
        assert len(asked) > 3
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["index", "tutorial", "gallery/torchvision/resnet50", "gallery/timm/index", "python/parity"]
)
def test_a_page_fits_a_phone(site: Path, name: str) -> None:
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_every_network_has_its_page(site: Path) -> None:
    for name in resnet_spec.available():
        text = (site / gallery.FOLDER / f"{name}.html").read_text("utf-8")
        for heading in ("Drawing", "Compared with its original", "Published weights", "YAML"):
            assert f">{heading}<" in text.replace('<a class="headerlink"', "<"), (name, heading)
        assert (site / gallery.FOLDER / f"{name}.svg").stat().st_size > 1000, name


@pytest.mark.slow
@pytest.mark.parametrize("link", ["other.md", "index.md#nothing"])
def test_a_link_that_leads_nowhere_is_an_error(link: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Title\n\n[a link]({link})\n", "utf-8")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "a"\n', "utf-8")

    assert building.run_zensical(tmp_path / "zensical.toml") != 0
    (tmp_path / "docs/index.md").write_text("# Title\n\n[a link](#title)\n", "utf-8")
    assert building.run_zensical(tmp_path / "zensical.toml") == 0


@pytest.mark.slow
def test_the_picture_of_the_tutorial_is_current(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(TUTORIAL, read(TUTORIAL)) if block.file == "small_se.yaml")
    (tmp_path / "small_se.yaml").write_text(block.text, "utf-8")
    command = ["draw", "small_se.yaml", "--against", "resnet18", "-o", "small_se.svg"]
    subprocess.run([sys.executable, "-m", "resnet_spec", *command], cwd=tmp_path, check=True)

    # If not: copy what this command writes to docs/small_se.svg.
    assert (tmp_path / "small_se.svg").read_text("utf-8") == read("docs/small_se.svg")
