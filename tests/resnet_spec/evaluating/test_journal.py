"""The file of results: read again up to the last whole line, and replaced if it is of another evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.evaluating import journal as module
from resnet_spec.evaluating.journal import Journal, Record, check_state
from tests.needs import posix

Lines = Callable[[Callable[[], object]], list[str]]
SUBJECT = {"weights": "abc", "images": "def"}
IMAGES = 12
OTHER = "holds something else than results of an evaluation; it is not replaced"


def record(first: int, count: int, **values: Any) -> Record:
    """The results of a batch of which the last image could not be read, in two backends."""
    read = [*range(first, first + count - 1)]
    many = len(read)
    scores: Any = ([[1, 0]] * many, [0] * many, [0.75] * many)
    made: dict[str, Any] = {
        "first": first, "count": count, "read": read, "problems": [(first + count - 1, "no such file")],
        "turned": read[:1], "scores": [scores, scores], "changes": [([nan] * many, [0.1] * many, [0.0] * many)],
        "sums": (2.0 * many, 0.5, 1.0),
    }  # fmt: skip
    return Record(**made | values)


def write(path: Path, *batches: tuple[int, int]) -> bytes:
    with Journal(path, SUBJECT) as journal:
        assert [*journal.batches(IMAGES)] == []
        for first, count in batches:
            journal.record(record(first, count))
    return path.read_bytes()


def firsts(path: Path, subject: dict[str, str] = SUBJECT, images: int = IMAGES) -> list[int]:
    with Journal(path, subject) as journal:
        return [batch.first for batch in journal.batches(images)]


def test_batches_are_read_again_and_followed_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.state"
    write(path, (0, 4), (4, 4))
    with Journal(path, SUBJECT) as journal:
        found = [*journal.batches(IMAGES)]
        journal.record(record(8, 1))
    assert [batch.line() for batch in found] == [record(0, 4).line(), record(4, 4).line()]
    assert isnan(found[0].changes[0][0][0])
    assert firsts(path) == [0, 4, 8]


@pytest.mark.parametrize("lost", range(1, 26))
def test_a_line_that_was_cut_is_dropped_and_written_again(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.state"
    whole = write(path, (0, 4), (4, 4))
    path.write_bytes(whole[:-lost])
    with Journal(path, SUBJECT) as journal:
        assert [batch.first for batch in journal.batches(IMAGES)] == [0]
        journal.record(record(4, 4))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("batches", [[(0, 4), (0, 4)], [(0, 4), (8, 4)], [(0, 4), (2, 4)], [(0, 4), (4, 9)]])
def test_batches_that_do_not_follow_each_other_are_dropped(tmp_path: Path, batches: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.state"
    write(path, *batches)
    assert firsts(path) == [0]


def signed(values: dict[str, Any]) -> bytes:
    """The line of a batch with other values, and a checksum of them."""
    data = record(0, 4).model_dump(mode="json", exclude={"sha256"}) | values
    checksum = sha256(json.dumps(data, separators=(",", ":")).encode()).hexdigest()
    return json.dumps(data | {"sha256": checksum}).encode() + b"\n"


# -- a damaged file --------------------------------------------------------------------------------------------------


def test_whatever_byte_of_a_line_changes_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    head = len(write(path))
    whole = write(path, (0, 2), (2, 2))
    for place in range(head, len(whole) - 1, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert firsts(path) in ([], [0])


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1_000_000_000},
        {"count": -5},
        {"count": "4"},
        {"read": [0, 1, 1]},
        {"read": [0, 1, 12]},
        {"read": [0, 1]},
        {"problems": [[3, 5]]},
        {"turned": None},
        {"scores": [[[[1, 0]], [0], [0.5]]]},
        {"scores": [[]]},
        {"scores": {"torch": []}},
        {"changes": [[[1.0, 1.0, 1.0]]]},
        {"sums": [1, 2]},
        {"more": 1},
    ],
)
def test_a_line_with_impossible_values_is_dropped_even_if_its_checksum_is_right(values: dict[str, Any]) -> None:
    assert Record.parsed(signed({})) is not None
    assert Record.parsed(signed(values)) is None


@pytest.mark.parametrize("line", [b"\n", b"[1]\n", b"null\n", b"\xff\n", b"[" * 10_000 + b"\n"])
def test_what_is_no_record_is_dropped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.state"
    path.write_bytes(write(path, (0, 4)) + line)
    assert firsts(path) == [0]


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 100)
    path = tmp_path / "a.state"
    write(path, (0, 4))
    assert firsts(path) == []


# -- another file ----------------------------------------------------------------------------------------------------


def test_a_file_of_another_evaluation_is_replaced_and_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    write(path, (0, 4))
    with Journal(path, SUBJECT | {"weights": "new"}) as journal:
        assert journal.changed == ("weights",)
        assert [*journal.batches(IMAGES)] == []
    assert json.loads(path.read_text())["weights"] == "new"


def test_a_file_cut_in_its_first_line_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    path.write_bytes(write(path, (0, 4))[:20])
    assert firsts(path) == []
    path.write_bytes(b"")
    assert firsts(path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"It was a dark and stormy night.\n",
        b'{"evaluation": "2"' + b" " * 2**20,
        b"\0" * 2**21,
    ],
    ids=["text", "a head without end", "zeros"],
)
def test_any_other_file_is_not_replaced(tmp_path: Path, lines: Lines, content: bytes) -> None:
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    assert lines(lambda: firsts(path)) == lines(lambda: check_state(path)) == [f"{path}: {OTHER}"]
    assert path.read_bytes() == content
    assert lines(lambda: firsts(tmp_path)) == [f"{tmp_path}: is a folder"]


def test_a_first_line_of_nested_lists_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    path.write_bytes(b'{"evaluation": ' + b"[" * 100_000 + b"\n")
    assert firsts(path) == []


@posix
def test_what_is_not_a_regular_file_is_refused(tmp_path: Path, lines: Lines) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), Path("/dev/zero")):
        assert lines(lambda path=path: firsts(path)) == [f"{path}: is not a regular file"]


# -- two evaluations -------------------------------------------------------------------------------------------------


@posix
def test_two_evaluations_do_not_use_one_file_at_once(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "a.state"
    with Journal(path, SUBJECT) as journal:
        journal.record(record(0, 4))
        whole = path.read_bytes()
        # One of another evaluation is not replaced, either.
        for subject in (SUBJECT, {"weights": "new"}):
            wrong = f'{path}: is used by another evaluation; name another with state="FILE"'
            assert lines(lambda subject=subject: firsts(path, subject)) == [wrong]
        assert path.read_bytes() == whole
    assert firsts(path) == [0]


@posix
def test_a_file_that_was_deleted_before_it_was_locked_is_not_used(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path = tmp_path / "a.state"
    monkeypatch.setattr(fcntl, "flock", lambda *_arguments: path.unlink())
    assert lines(lambda: firsts(path)) == [f"{path}: was deleted by another evaluation, which has just ended"]


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    with Journal(path, SUBJECT) as journal:
        journal.remove()
    assert not path.exists()
