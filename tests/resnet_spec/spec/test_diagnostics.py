"""Mistakes are collected, located, and cut off where they do not end."""

from __future__ import annotations

from collections.abc import Callable

from resnet_spec.spec import diagnostics as reports
from resnet_spec.spec.spec import Spec

Mistakes = Callable[..., list[str]]


def test_mistakes_without_end_are_cut_off(mistakes: Mistakes) -> None:
    said = mistakes("extends: resnet18\nstages: {layer1: {repeat: 10000, channels: 1 - index}}\n")

    assert len(said) == reports.MAX_PROBLEMS + 1
    assert said[-1] == "too many problems; the rest of the spec is not checked"


def test_plain_data_without_a_file_has_mistakes_without_a_place(lines: Callable[..., list[str]]) -> None:
    spec = Spec.model_validate({"stem": {"a": "rellu"}})

    assert lines(spec.to_graph) == ["stem.a: unknown operation, block or layer 'rellu'; did you mean 'relu'?"]
