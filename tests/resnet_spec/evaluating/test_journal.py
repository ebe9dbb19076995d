"""The file of results: read again up to the last whole line, and replaced if it is of another evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec.evaluating.journal import Journal

Lines = Callable[[Callable[[], object]], list[str]]
SUBJECT = {"weights": "abc", "images": "def"}


def write(path: Path, *batches: tuple[int, int]) -> bytes:
    with Journal(path, SUBJECT) as journal:
        assert [*journal.batches()] == []
        for first, count in batches:
            journal.record({"first": first, "count": count})
    return path.read_bytes()


def firsts(path: Path, subject: dict[str, str] = SUBJECT) -> list[int]:
    with Journal(path, subject) as journal:
        return [batch["first"] for batch in journal.batches()]


def test_batches_are_read_again_and_followed_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.state"
    write(path, (0, 4), (4, 4))
    with Journal(path, SUBJECT) as journal:
        assert [batch["first"] for batch in journal.batches()] == [0, 4]
        journal.record({"first": 8, "count": 1})
    assert firsts(path) == [0, 4, 8]


@pytest.mark.parametrize("lost", range(1, 26))
def test_a_line_that_was_cut_is_dropped_and_written_again(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.state"
    whole = write(path, (0, 4), (4, 4))
    path.write_bytes(whole[:-lost])
    with Journal(path, SUBJECT) as journal:
        assert [batch["first"] for batch in journal.batches()] == [0]
        journal.record({"first": 4, "count": 4})
    assert path.read_bytes() == whole


@pytest.mark.parametrize("batches", [[(0, 4), (0, 4)], [(0, 4), (8, 4)], [(0, 4), (2, 4)]])
def test_batches_that_do_not_follow_each_other_are_dropped(tmp_path: Path, batches: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.state"
    write(path, *batches)
    assert firsts(path) == [0]


def test_a_file_of_another_evaluation_is_replaced_and_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    write(path, (0, 4))
    with Journal(path, SUBJECT | {"weights": "new"}) as journal:
        assert journal.changed == ("weights",)
        assert [*journal.batches()] == []
    assert json.loads(path.read_text())["weights"] == "new"


def test_a_file_cut_in_its_first_line_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    path.write_bytes(write(path, (0, 4))[:20])
    assert firsts(path) == []
    path.write_bytes(b"")
    assert firsts(path) == []


def test_any_other_file_is_not_replaced(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("It was a dark and stormy night.\n")
    wrong = f"{path}: holds something else than results of an evaluation; it is not replaced"
    assert lines(lambda: firsts(path)) == [wrong]
    assert path.read_text().startswith("It was")
    (line,) = lines(lambda: firsts(tmp_path))
    assert line.startswith(f"{tmp_path}: ")


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    with Journal(path, SUBJECT) as journal:
        journal.remove()
    assert not path.exists()
