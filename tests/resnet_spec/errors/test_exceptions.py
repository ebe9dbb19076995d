"""An error is a line for each mistake: place, path, message."""

from __future__ import annotations

import pytest

from resnet_spec import BackendError, GraphError, OutputError, Problem, ResnetSpecError, SpecError, WeightsError
from resnet_spec.errors import Position, listed, shown, suggest, suggest_spelling
from resnet_spec.errors.exceptions import MAX_ALIKE, MAX_LISTED


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


def test_of_many_mistakes_of_one_kind_the_first_are_shown() -> None:
    missing = [Problem(f"missing; did you mean {n}?", f"a{n}") for n in range(MAX_ALIKE + 1)]
    unexpected = [Problem("unexpected", f"b{n}") for n in range(MAX_ALIKE)]
    error = SpecError([Problem("head"), *missing, *unexpected, *[Problem("hint")] * (MAX_ALIKE + 1)])

    shown_lines = str(error).splitlines()
    assert shown_lines == [
        "head",
        *map(str, missing[:MAX_ALIKE]),
        "… and 1 more",
        *map(str, unexpected),
        *["hint"] * (MAX_ALIKE + 1),
    ]
    assert len(error.problems) == 1 + len(missing) + len(unexpected) + MAX_ALIKE + 1


def test_of_many_names_the_first_are_listed() -> None:
    assert listed(map(str, range(MAX_LISTED))) == "0, 1, 2, 3, 4, 5"
    assert listed(map(str, range(MAX_LISTED + 2))) == "0, 1, 2, 3, 4, 5 and 2 more"
    assert listed([]) == ""


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


@pytest.mark.parametrize("word", ["rellu", "realu", "Relu", "re_lu", "reul"])
def test_a_misspelled_name_is_recognized(word: str) -> None:
    assert suggest_spelling(word, ["gelu", "relu"]) == "; did you mean 'relu'?"


@pytest.mark.parametrize("word", ["celu", "selu", "relu7", "swish", "rlu2"])
def test_a_name_of_something_else_is_not(word: str) -> None:
    assert suggest_spelling(word, ["elu", "gelu", "relu", "relu6", "hard_swish"]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1, "1"), ("1", "'1'"), ([1], "[1]"), ("x" * 99, "'" + "x" * 56 + "...")],
)
def test_values_are_shown_as_yaml_has_them_and_shortened(value: object, text: str) -> None:
    assert shown(value) == text
