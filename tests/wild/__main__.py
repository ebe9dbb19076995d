"""Writes docs/checkpoints.md."""

from __future__ import annotations

from tests.wild.table import PAGE, page

PAGE.write_text(page(), "utf-8")
