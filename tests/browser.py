"""Chromium without a window, by which tests look at pages; ``make test-all`` installs it below tests/node."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import need

if TYPE_CHECKING:
    from playwright.sync_api import Browser

UNPACKED = Path(__file__).parent / "node" / "node_modules" / "chromium-unpacked"

SWITCHES = (
    "--no-sandbox",  # which root, as in a container, may not have
    "--no-zygote",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Nothing is asked of other hosts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> Generator[Browser]:
    """Run Chromium; skip the test where it is not installed, unless the Makefile runs it."""
    need("playwright")
    from playwright.sync_api import sync_playwright

    program = UNPACKED / "chromium"
    if not program.exists():
        if os.environ.get("RESNET_SPEC_COMPLETE"):
            pytest.fail("Chromium is not installed, and `make test-all` installs it")
        pytest.skip("Chromium is not installed")
    libraries, fonts = str(UNPACKED / "al2023" / "lib"), str(UNPACKED / "fonts")
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": fonts}
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(SWITCHES), env=environment)
        try:
            yield running
        finally:
            running.close()
