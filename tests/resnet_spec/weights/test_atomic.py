"""Nothing is written unless it is whole, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec.errors import OutputError
from resnet_spec.weights.atomic import Report, check_target, replacing
from tests.needs import posix

Lines = Callable[..., list[str]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_into(path: Path, text: str = "new", *, force: bool = False) -> None:
    with replacing(path, force=force) as temporary:
        temporary.write_text(text)


def fail_in_the_middle(path: Path, write: Callable[[Path], object], error: type[BaseException]) -> None:
    with replacing(path, force=True) as temporary:
        write(temporary)
        raise error


def saved_model(path: Path, text: str = "old") -> Path:
    path.mkdir()
    (path / "saved_model.pb").write_text(text)
    return path


# -- what is refused ---------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "nowhere" / "x.safetensors"

    assert lines(lambda: check_target(path)) == [f"{path}: the folder {path.parent} does not exist"]
    assert lines(lambda: write_into(path)) == [f"{path}: the folder {path.parent} does not exist"]


def test_a_file_that_stands_where_the_folder_should_is_refused(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "x"

    assert lines(lambda: check_target(path)) == [f"{path}: the folder {path.parent} does not exist"]


def test_an_existing_file_is_refused_unless_forced(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    assert lines(lambda: write_into(path)) == [f"{path} exists already; force=True replaces it"]
    assert path.read_text() == "old"
    write_into(path, force=True)
    assert path.read_text() == "new"


def test_a_folder_of_another_kind_is_never_replaced(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "precious"
    path.mkdir()
    (path / "thesis.tex").write_text("")

    said = [f"{path} is a folder that holds no SavedModel or transformers model; it is not replaced"]
    assert lines(lambda: write_into(path, force=True)) == said
    assert names(path) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("kind", "old", "replaced"),
    [
        ("HTML", "<!DOCTYPE html>\n<html>", True),
        ("HTML", "\ufeff\n<!doctype HTML>", True),
        ("HTML", "", True),
        ("HTML", "important", False),
        ("HTML", '<?xml version="1.0"?>', False),
        ("XML", '<?xml version="1.0"?>', True),
        ("XML", "<testsuites>", True),
        ("XML", "<!DOCTYPE html>", False),
    ],
)
def test_a_report_replaces_only_a_report_of_its_kind(
    tmp_path: Path, lines: Lines, kind: Report, old: str, replaced: bool
) -> None:
    path = tmp_path / "x"
    path.write_text(old, "utf-8")

    def write() -> None:
        with replacing(path, report=kind) as temporary:
            temporary.write_text("new")

    if not replaced:
        said = [f"{path} exists already and is not {kind}; it is not replaced"]
        assert lines(write) == lines(lambda: check_target(path, report=kind)) == said
    else:
        check_target(path, report=kind)
        write()
    assert path.read_text("utf-8") == ("new" if replaced else old)


def test_a_report_does_not_replace_a_folder_of_any_kind(tmp_path: Path, lines: Lines) -> None:
    path = saved_model(tmp_path / "model")

    assert lines(lambda: check_target(path, report="HTML")) == [f"{path} is a folder"]


@posix
def test_what_is_not_a_file_is_never_replaced(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    said = [f"{path} is not a regular file; it is not replaced"]
    assert lines(lambda: check_target(path, report="HTML")) == said
    assert lines(lambda: write_into(path, force=True)) == said


def test_a_name_that_is_too_long_is_refused(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / ("x" * 300)

    assert lines(lambda: check_target(path)) == [f"{path}: File name too long"]


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so that permissions alone would show nothing here.
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and path == tmp_path))
    path = tmp_path / "x"

    assert lines(lambda: check_target(path)) == [f"{path}: the folder {tmp_path} is not writable"]


def test_a_folder_whose_permissions_are_real_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    program = f"""
import os, sys
if os.geteuid() == 0:
    os.chdir({str(folder)!r})
    os.setresuid(65534, 65534, 65534)
from pathlib import Path
from resnet_spec.weights.atomic import check_target
check_target(Path("x") if os.getcwd() == {str(folder)!r} else Path({str(folder / "x")!r}))
"""
    # Imported before the user changes, since the test's own environment may be closed to another one.
    program = "import resnet_spec.weights.atomic\n" + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)

    assert done.stderr.splitlines()[-1].endswith("is not writable")


def test_a_medium_that_fails_later_is_reported_in_one_line(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)

    assert lines(lambda: write_into(tmp_path / "x")) == [f"{tmp_path / 'x'}: No space left on device"]


# -- what is written ---------------------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert (temporary.name, temporary.parent.parent) == ("x.pth", tmp_path)
    assert (path.read_text(), names(tmp_path)) == ("half", ["x.pth"])


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "x.pth", tmp_path / "elsewhere" / "old"
    link.symlink_to("elsewhere/old")
    for force in (False, True):
        with replacing(link, force=force) as temporary:
            assert temporary.name == "x.pth"
            temporary.write_text(f"{force}")
        assert (link.is_symlink(), target.read_text()) == (True, f"{force}")
    assert (names(tmp_path), names(tmp_path / "elsewhere")) == (["elsewhere", "x.pth"], ["old"])
    assert lines(lambda: write_into(link)) == [f"{link} exists already; force=True replaces it"]


def test_a_folder_is_replaced_by_a_folder_of_its_kind(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "model")
    (path / "variables").mkdir()
    with replacing(path, force=True) as temporary:
        saved_model(temporary, "new")
    assert (path / "saved_model.pb").read_text() == "new"
    assert (names(path), names(tmp_path)) == (["saved_model.pb"], ["model"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError, SystemExit])
def test_a_failure_in_the_middle_leaves_the_old_file_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    with pytest.raises(error):
        fail_in_the_middle(path, lambda temporary: temporary.write_text("half"), error)
    assert (path.read_text(), names(tmp_path)) == ("old", ["x"])


def test_a_failure_in_the_middle_leaves_the_old_folder_and_no_litter(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "model")

    with pytest.raises(RuntimeError):
        fail_in_the_middle(path, lambda temporary: saved_model(temporary, "half"), RuntimeError)
    assert ((path / "saved_model.pb").read_text(), names(tmp_path)) == ("old", ["model"])


def test_a_writer_that_writes_nothing_leaves_the_old_folder(tmp_path: Path, lines: Lines) -> None:
    path = saved_model(tmp_path / "model")

    def write_nothing() -> None:
        with replacing(path, force=True):
            pass

    assert lines(write_nothing) == [f"{path}: No such file or directory"]
    assert ((path / "saved_model.pb").read_text(), names(tmp_path)) == ("old", ["model"])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_at_the_very_end_leaves_the_old(
    tmp_path: Path, lines: Lines, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    saved_model(path) if kind == "folder" else path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def replace_in_vain() -> None:
        with replacing(path, force=True) as temporary:
            saved_model(temporary, "new") if kind == "folder" else temporary.write_text("new")
            monkeypatch.setattr(Path, "replace", fail)

    assert lines(replace_in_vain) == [f"{path}: Input/output error"]
    monkeypatch.undo()
    assert (path / "saved_model.pb" if kind == "folder" else path).read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_an_error_in_writing_is_reported_in_one_line(tmp_path: Path, lines: Lines) -> None:
    def write_nowhere() -> None:
        with replacing(tmp_path / "x") as temporary:
            (temporary / "below").write_text("")

    assert lines(write_nowhere) == [f"{tmp_path / 'x'}: No such file or directory"]
    assert names(tmp_path) == []


def test_an_error_of_the_writers_names_the_path_that_was_asked_for(tmp_path: Path, lines: Lines) -> None:
    def refuse() -> None:
        with replacing(tmp_path / "x") as temporary:
            raise OutputError(f"{temporary}: cannot be done")

    assert lines(refuse) == [f"{tmp_path / 'x'}: cannot be done"]


@posix
def test_ctrl_c_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    program = """
import signal, sys, time
from pathlib import Path
from resnet_spec.weights.atomic import replacing
# A shell starts what runs in the background deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
with replacing(Path(sys.argv[1]), force=True) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "writing\n"
        assert len(names(tmp_path)) == 2
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert "KeyboardInterrupt" in said
    assert (path.read_text(), names(tmp_path)) == ("old", ["x"])


def test_a_file_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "x") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["x"]
