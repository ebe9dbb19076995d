"""What the core says in Python's words, a command says in options."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import initialize, load, write_weights
from resnet_spec.cli.common import as_options
from resnet_spec.cli.spec import command as program

PACKAGE = Path(__file__).parents[3] / "resnet_spec"
OTHERS = {"cli", "drawing", "notebook.py", "render", "pushing.py", "pytest_plugin.py"}
"""The commands themselves, and what writes HTML, or texts for Python's users alone."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('adapt="half" accepts them', "--adapt half accepts them"),
        ('choose take="." or take="a.b"', "choose --take . or --take a.b"),
        ('(overrides="folded=true")', "(--set folded=true)"),
        ("strict_graph=True refuses; ema=True; force=True", "--strict-graph refuses; --ema; --force"),
        ("override a.b=0:1:1: a.b: no", "--set a.b=0:1:1: a.b: no"),
        ("x\noverride a=0:1:1: a: no\noverride the other", "x\n--set a=0:1:1: a: no\noverride the other"),
        ('format="saved_model"; names="timm" is for .pth', "--to saved_model; --names timm is for .pth"),
        ('kernel="3", adapter="x", force=1', 'kernel="3", adapter="x", force=1'),
    ],
)
def test_arguments_are_options(text: str, said: str) -> None:
    assert as_options(text, program) == said


def test_messages_name_no_argument_that_is_not_an_option() -> None:
    """Whatever a message outside the commands asks for can be given to a command, too."""
    named = {name for path in PACKAGE.rglob("*.py") if not OTHERS & {*path.parts} for name in _named(path)}
    assert named >= {"overrides", "adapt", "take", "force", "format"}
    assert {name for name in named if as_options(f"{name}=True", program) == f"{name}=True"} == {
        "allow_pickle",
    }


def _named(path: Path) -> Iterator[str]:
    """The arguments that texts in a module name as ``name="value"`` or ``name=True``, except in docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from re.findall(r'\b([a-z_]+)=(?:"|True\b)', node.value)


def test_errors_and_remarks_name_options(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = load("cifar/resnet20").to_graph()
    arrays = initialize(graph)
    write_weights("full.safetensors", graph, arrays)
    np.savez("half.npz", **{name: array.astype("float16") for name, array in arrays.items()})

    for arguments, said in [
        (["convert", "cifar/resnet20", "half.npz", "x.npz"], "; --adapt half accepts them"),
        (["convert", "cifar/resnet20", "full.safetensors", "full.safetensors"], "already; --force replaces it"),
        (["validate", "cifar/resnet20", "--set", "depth=3"], "--set depth=3:1:1: depth: states 3"),
    ]:
        done = command("resnet-spec", *arguments)
        assert done.status == 2
        assert said in done.err
