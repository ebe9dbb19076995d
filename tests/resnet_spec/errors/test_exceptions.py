"""An error is a line for each mistake: place, path, message."""

from __future__ import annotations

import pytest

from resnet_spec import BackendError, GraphError, OutputError, Problem, ResnetSpecError, SpecError, WeightsError
from resnet_spec.errors import Position, shown, suggest


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("wrong"), "wrong"),
        (Problem("wrong", "stem.a"), "stem.a: wrong"),
        (Problem("wrong", position=Position("f.yaml", 3, 7)), "f.yaml:3:7: wrong"),
        (Problem("wrong", "stem.a", Position("f.yaml", 3, 7)), "f.yaml:3:7: stem.a: wrong"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, line: str) -> None:
    assert str(problem) == line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb", r"a\rb"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("größe 大きさ Δ", "größe 大きさ Δ"),
    ],
)
def test_a_name_from_a_file_sends_nothing_to_the_terminal(name: str, shown: str) -> None:
    """What is not printable is escaped, in the path as in the message."""
    assert str(Problem(f"unknown {name}", name)) == f"{shown}: unknown {shown}"


def test_an_error_holds_one_problem_or_several() -> None:
    assert str(SpecError("wrong")) == "wrong"
    assert SpecError(Problem("wrong", "a")).problems == (Problem("wrong", "a"),)
    assert str(SpecError([Problem("one"), Problem("two", "a")])) == "one\na: two"


@pytest.mark.parametrize("error", [SpecError, GraphError, WeightsError, OutputError, ResnetSpecError])
def test_wrong_input_ends_a_command_with_status_two(error: type[ResnetSpecError]) -> None:
    assert error("x").exit_status == 2
    assert issubclass(error, ResnetSpecError)


def test_what_cannot_be_run_ends_a_command_with_status_three() -> None:
    assert BackendError("x").exit_status == 3


def test_the_nearest_word_is_suggested_and_none_where_none_is_near() -> None:
    assert suggest("bottlneck", ["basic_block", "bottleneck"]) == "; did you mean 'bottleneck'?"
    assert suggest("bottlneck", ["basic_block"]) == ""
    assert suggest("x", []) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1, "1"), ("1", "'1'"), ([1], "[1]"), ("x" * 99, "'" + "x" * 56 + "...")],
)
def test_values_are_shown_as_yaml_has_them_and_shortened(value: object, text: str) -> None:
    assert shown(value) == text
