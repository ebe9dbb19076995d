"""Each promise in SECURITY.md names its tests, and they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
NODES = re.findall(r"`(tests/[^`]+)`", TEXT)
PROMISES = re.findall(r"^\| (?!promise|---|version)(.*?) \| (.*?) \|$", TEXT.partition("## What is protected")[2], re.M)


@cache
def nodes_of(path: str) -> frozenset[str]:
    """The ids of a file's tests without their parameters, as pytest has them."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], outer: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                visit(node.body, f"{outer}{node.name}::")
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{path}::{outer}{node.name}")

    visit(ast.parse((ROOT / path).read_text("utf-8")).body, "")
    return frozenset(found)


@pytest.mark.parametrize(("promise", "tests"), PROMISES, ids=[promise for promise, _ in PROMISES])
def test_a_promise_names_its_tests(promise: str, tests: str) -> None:
    assert promise.endswith(".")
    assert re.fullmatch(r"`tests/[^`]+`( `tests/[^`]+`)*", tests)


@pytest.mark.parametrize("node", list(dict.fromkeys(NODES)))
def test_a_named_test_is_there(node: str) -> None:
    path = node.partition("::")[0]
    assert (ROOT / path).is_file()
    assert node in nodes_of(path)


def test_there_are_promises() -> None:
    assert len(PROMISES) > 25
