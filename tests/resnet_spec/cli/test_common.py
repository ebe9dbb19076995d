"""What the core says in Python's words, a command says in options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import initialize, load, write_weights
from resnet_spec.cli.common import as_options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('adapt="half" accepts them', "--adapt half accepts them"),
        ('choose take="." or take="a.b"', "choose --take . or --take a.b"),
        ('(overrides="folded=true")', "(--set folded=true)"),
        ("strict_graph=True refuses; ema=True; force=True", "--strict-graph refuses; --ema; --force"),
        ("override a.b=0:1:1: a.b: no", "--set a.b=0:1:1: a.b: no"),
        ("x\noverride a=0:1:1: a: no\noverride the other", "x\n--set a=0:1:1: a: no\noverride the other"),
        ('kernel="3", adapter="x", force=1', 'kernel="3", adapter="x", force=1'),
    ],
)
def test_arguments_are_options(text: str, said: str) -> None:
    assert as_options(text) == said


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
