"""Every code block of the documents runs and prints what the document shows."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, blocks, read
from tests.docs.running import NOT_RUN, Documents, changes_code, run_alone

LANGUAGES = ("console", "diff", "json", "python", "text", "toml", "yaml")
ALL_BLOCKS = [block for document in DOCUMENTS for block in blocks(document, read(document))]


@pytest.fixture(scope="module")
def shared() -> Iterator[Documents]:
    """The process that documents share."""
    with Documents() as documents:
        yield documents


SLOW = {
    "docs/tutorial.md": "its commands are those of README.md, with another network",
    "docs/evaluation.md": "it trains a network, and evaluates it in several processes",
    "docs/training.md": "it trains a dozen models, by four libraries",
    "docs/distributed.md": "it trains in TensorFlow, and imports JAX",
    "docs/precision.md": "it trains in two frameworks",
    "docs/training-parity.md": "its comparison of training is a larger one of docs/ci.md's",
    "docs/timing.md": "it times a network, for which nothing else may run",
    "docs/adding-a-backend.md": "its code changes a copy of the packages, so that it needs processes of its own",
    "docs/adding-an-operation.md": "the same",
    "docs/jax.md": "Keras runs on one framework in a process, and the other documents build Keras models on TensorFlow",
}
ALONE = ("docs/jax.md",)
WITH_BLOCKS = dict.fromkeys(block.document for block in ALL_BLOCKS)


@pytest.mark.parametrize(
    "document", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in WITH_BLOCKS]
)
def test_every_block_runs(document: str, shared: Documents, tmp_path: Path) -> None:
    """One test for a document, since its blocks need one another."""
    text = read(document)
    errors = (
        run_alone(tmp_path, document, text)
        if changes_code(document, text) or document in ALONE
        else shared.run(tmp_path, document, text)
    )
    assert not errors, "\n".join(f"{document}:{line}\n{error}" for line, error in errors.items())


def test_every_fence_has_a_known_language() -> None:
    for block in ALL_BLOCKS:
        assert block.language in LANGUAGES, f"{block.document}:{block.line}: {block.language!r}"
    for document in DOCUMENTS:
        fences = len(re.findall(r"^\s*```", read(document), re.MULTILINE))
        assert fences == 2 * len(blocks(document, read(document))), f"{document} has a fence that is not read"


BROKEN = {
    "a yaml that names no block": "```yaml\n# a.yaml\nstages: {x: {block: bottlneck}}\n```",
    "a yaml the schema refuses": "```yaml\n# a.yaml\nstem: {a: relu}\nhaed: {b: relu}\n```",
    "a block with an unknown key": "```yaml\n# b.yaml\nblock: b\nmain: {a: relu}\naftre: {}\n```",
    "a fragment that is no YAML": "```yaml\na: [1\n```",
    "code that raises": "```python\nassert 1 == 2\n```",
    "other output than shown": "```python\nprint(1)\n```\n```text\n2\n```",
    "a command that fails": "```console\n$ resnet-spec validate nothing.yaml\n```",
    "another status than shown": "```console\n$ resnet-spec list\n$ echo $?\n2\n```",
    "other lines than shown": "```console\n$ resnet-spec list\nresnet50\n```",
    "an unknown program": "```console\n$ unheard-of\n```",
}


def test_broken_blocks_are_reported(shared: Documents, tmp_path: Path) -> None:
    text = "\n".join(f"{fences}\n" for fences in BROKEN.values())
    errors = shared.run(tmp_path, "broken.md", text)
    lines = [block.line for block in blocks("broken.md", text) if "print(1)" not in block.text]
    assert sorted(map(int, errors)) == lines
    assert len(lines) == len(BROKEN)


def test_commands_that_are_not_run_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [
        line.removeprefix("$ ")
        for block in ALL_BLOCKS
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith(tuple(f"$ {program}" for program in NOT_RUN))
    ]
    assert {"make demo", "make test"} <= set(lines)
    for line in lines:
        program, *words = shlex.split(line)
        if program == "make":
            assert set(words) <= targets, line
        for wanted in re.findall(r"resnet-spec\[([\w,]+)\]", line):
            assert set(wanted.split(",")) <= set(extras), line
