"""The preview as a person sees it: a file is edited, broken and fixed, and the page follows."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

MINE = "extends: torchvision/resnet152\n"
OTHER = "extends: cifar/resnet20\n"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def preview(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (tmp_path / "mine.yaml").write_text(MINE, "utf-8")
    (tmp_path / "other.yaml").write_text(OTHER, "utf-8")
    command = [sys.executable, "-m", "resnet_spec", "preview", "mine.yaml", "other.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        yield process, address[0]
        process.kill()


@pytest.fixture
def page(chromium: Browser, preview: tuple[subprocess.Popen[str], str]) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(preview[1])
    yield opened
    context.close()
    # A preview that is killed may have accepted a connection that it has not answered.
    ended = re.compile("ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE")
    assert [fault for fault in faults if not ended.search(fault)] == []
    assert {url.removeprefix(preview[1]).partition("?")[0] for url in asked} == {"", "changes"}


def until(condition: Callable[[], object]) -> None:
    """Wait in Python: the page's policy forbids to run texts as scripts in it."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(condition)


def test_a_file_is_edited_broken_and_fixed(page: Page, tmp_path: Path) -> None:
    mine, first = tmp_path / "mine.yaml", page.locator("article").first
    until(lambda: "Nothing differs." in first.inner_text())
    until(lambda: (box := first.locator("svg").first.bounding_box()) and min(box["width"], box["height"]) > 100)

    mine.write_text(MINE + "stages: {layer1: {repeat: 4}}\nhead: {fc: {linear: {features: 10}}}\n", "utf-8")
    until(lambda: "4 blocks instead of 3" in first.inner_text())
    assert "10 instead of 1000" in first.inner_text()
    changed = first.locator("tr.changed th").all_inner_texts()
    assert "fc" in changed
    assert {name.rpartition(".")[0] for name in changed} == {"layer1.3", ""}

    mine.write_text(MINE + "stages: {layer1: {repaet: 4}}\n", "utf-8")
    until(lambda: "1 mistake" in first.inner_text())
    assert first.locator("mark").inner_text() == "repaet: 4"
    assert "did you mean 'repeat'?" in first.inner_text()
    assert first.locator(".outdated svg").count()
    assert page.locator("nav .broken").count() == 1

    mine.write_text(MINE, "utf-8")
    until(lambda: "Nothing differs." in first.inner_text())
    assert first.locator(".mistakes").count() == page.locator("nav .broken").count() == 0


def test_another_file_is_shown_where_it_is_chosen(page: Page, tmp_path: Path) -> None:
    first, second = page.locator("article").all()
    assert (first.is_visible(), second.is_visible()) == (True, False)
    page.get_by_role("button", name="other.yaml").click()
    assert (first.is_visible(), second.is_visible()) == (False, True)
    (tmp_path / "other.yaml").write_text("extends: cifar/resnet32\n", "utf-8")
    until(lambda: "cifar/resnet32" in second.inner_text())
    assert second.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_the_screen(page: Page, width: int, scheme: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    for text in (MINE, MINE + "description: 3\n" + "a" * 300 + ": 1\n"):
        before = page.locator("article").first.inner_text()
        (tmp_path / "mine.yaml").write_text(text + "\n", "utf-8")
        until(lambda before=before, text=text: text == MINE or page.locator("article").first.inner_text() != before)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_says_that_the_preview_has_ended(page: Page, preview: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = preview
    assert not page.get_by_role("status").is_visible()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    until(page.get_by_role("status").is_visible)


def test_a_page_that_is_not_seen_keeps_no_connection(page: Page, tmp_path: Path) -> None:
    def turn(hidden: str) -> None:
        page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    first, other = page.locator("article").first, page.context.new_page()
    until(lambda: "Nothing differs." in first.inner_text())
    turn("true")
    other.goto(page.url)
    (tmp_path / "mine.yaml").write_text(MINE + "stages: {layer1: {repeat: 4}}\n", "utf-8")
    until(lambda: "4 blocks instead of 3" in other.locator("article").first.inner_text())
    assert "Nothing differs." in first.inner_text()
    turn("false")
    until(lambda: "4 blocks instead of 3" in first.inner_text())
    other.close()


def test_another_site_cannot_read_it(chromium: Browser, preview: tuple[subprocess.Popen[str], str]) -> None:
    page = chromium.new_page()
    page.goto("about:blank")
    script = f"fetch('{preview[1]}').then(() => 'read', () => 'refused')"
    assert page.evaluate(script) == "refused"
    page.close()
