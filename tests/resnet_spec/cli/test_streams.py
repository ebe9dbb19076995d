"""What becomes of a command where its reader goes away, or its streams cannot hold what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from resnet_spec import Graph, initialize
from resnet_spec.cli.streams import Stream, encodable
from tests.resnet_spec.parity.numpy_backends import BACKENDS
from tests.shipped import slow_unless
from tests.third_party import NUMPY_BACKENDS, distribution, python_path

VECTOR = """
    input: {features: 6}
    stem:
      one: {linear: {features: 8}}
      relu: relu
      fc: {linear: {features: 5}}
"""

COMPARE = ["resnet-spec", "parity", "a.yaml", "b.yaml", "--backends"]
SHOWN_BY_THE_STATUS = {
    "parity agrees": ([*COMPARE, "plain,reordered"], 0),
    "parity differs": ([*COMPARE, "plain,shifted", "--bisect"], 1),
    "parity differs, JSON": ([*COMPARE, "plain,shifted", "--json"], 1),
    "parity cannot be run": ([*COMPARE, "plain,nowhere"], 3),
    "validate, one wrong": (["resnet-spec", "validate", "a.yaml", "wrong.yaml", "b.yaml"], 2),
    "show": (["resnet-spec", "show", "resnet152", "--graph"], 0),
    "show, JSON": (["resnet-spec", "show", "resnet152", "--graph", "--json"], 0),
    "list": (["resnet-spec", "list"], 0),
    "list, JSON": (["resnet-spec", "list", "--json"], 0),
    "help": (["resnet-spec", "--help"], 0),
    "build": (["resnet-build", "a.yaml", "--backend", "plain", "--output", "w.safetensors", "--force"], 0),
    "build, wrong spec": (["resnet-build", "wrong.yaml", "--backend", "plain"], 2),
    "wrong option": (["resnet-spec", "parity", "--nonsense"], 2),
}
CLOSED = {"validate, one wrong", "show", "help", "wrong option"}
LEFT = {"parity differs"}
"""What ``make test`` runs with a pipe that was never read, and with one whose reader goes."""

SILENT = {"show", "show, JSON", "list", "list, JSON", "help"}
"""What writes to standard output only."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two specs and a wrong one, weights of the first, and backends of NumPy alone."""
    from textwrap import dedent

    from resnet_spec import load

    folder = tmp_path_factory.mktemp("streams")
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text(dedent(VECTOR), "utf-8")
    (folder / "wrong.yaml").write_text("stem: {x: relu}\ndpeth: 3\n", "utf-8")
    graph: Graph = load(folder / "a.yaml").to_graph()
    save_file(initialize(graph), folder / "w.pt.safetensors")
    distribution(folder / "backends", "numpy-backends", BACKENDS, NUMPY_BACKENDS)
    return folder


@pytest.fixture
def start(folder: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def start(arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
        name, *others = arguments
        environment = os.environ | {"PYTHONPATH": python_path(folder / "backends"), **options.pop("env", {})}
        command = [str(Path(sys.executable).with_name(name)), *others]
        return subprocess.Popen(command, cwd=folder, env=environment, **options)

    return start


def closed() -> int:
    """The end to write into of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


# -- a closed pipe -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_unless(CLOSED, list(SHOWN_BY_THE_STATUS)))
def test_a_closed_pipe_never_changes_the_exit_status(start: Callable[..., Any], name: str) -> None:
    arguments, status = SHOWN_BY_THE_STATUS[name]
    # Nobody reads the output, or what is said beside it.
    for stream in ("stdout", "stderr"):
        other = "stderr" if stream == "stdout" else "stdout"
        writing = closed()
        with start(arguments, **{stream: writing, other: subprocess.PIPE}) as running:
            os.close(writing)
            told = b"".join(part or b"" for part in running.communicate(timeout=300))
        assert running.returncode == status, (stream, told)
        assert b"Traceback" not in told
        assert b"Exception ignored" not in told
        assert b"Logging error" not in told
        assert stream == "stderr" or name not in SILENT or not told


@pytest.mark.parametrize("name", slow_unless(LEFT, list(SHOWN_BY_THE_STATUS)))
def test_a_reader_that_goes_after_a_line_never_changes_the_exit_status(start: Callable[..., Any], name: str) -> None:
    arguments, status = SHOWN_BY_THE_STATUS[name]
    with start(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()
        told = running.stderr.read()
        running.wait(timeout=300)
    assert running.returncode == status, told
    assert b"Traceback" not in told
    assert b"Exception ignored" not in told


@pytest.mark.slow
def test_streams_that_are_not_there_at_all_change_nothing(start: Callable[..., Any], folder: Path) -> None:
    def without(*descriptors: int) -> Callable[[], None]:
        return lambda: [os.close(descriptor) for descriptor in descriptors]  # type: ignore[return-value]

    for descriptors in ((1,), (2,), (0, 1, 2)):
        for name in ("parity differs", "build"):
            arguments, status = SHOWN_BY_THE_STATUS[name]
            with start(arguments, preexec_fn=without(*descriptors)) as running:
                running.wait(timeout=300)
            assert running.returncode == status, (descriptors, name)


def test_files_are_written_though_nobody_reads_the_output(start: Callable[..., Any], folder: Path) -> None:
    for name in ("r.xml", "r.html", "t.safetensors"):
        (folder / name).unlink(missing_ok=True)
    for arguments in (
        [*COMPARE, "plain,shifted", "--junit", "r.xml", "--html", "r.html"],
        ["resnet-spec", "record", "a.yaml", "--backend", "plain", "-o", "t.safetensors"],
    ):
        writing = closed()
        with start(arguments, stdout=writing, stderr=writing) as running:
            os.close(writing)
            running.wait(timeout=300)
    assert (folder / "r.xml").read_text("utf-8").count("<testsuite ") == 2
    assert "0 of 2 specs agree" in (folder / "r.html").read_text("utf-8")
    assert (folder / "t.safetensors").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_an_error(start: Callable[..., Any]) -> None:
    with (
        open("/dev/full", "wb") as full,
        start(["resnet-spec", "list"], stdout=full, stderr=subprocess.PIPE) as running,
    ):
        _, told = running.communicate(timeout=300)
    assert (running.returncode, told) == (3, b"the output cannot be written: No space left on device\n")


# -- encodings ---------------------------------------------------------------------------------------------------

POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS = {"ascii": {"PYTHONIOENCODING": "ascii"}, "cp1252": {"PYTHONIOENCODING": "cp1252"}, "locale": POSIX}


@pytest.mark.parametrize("encoding", slow_unless({"locale"}, list(ENCODINGS)))
def test_output_degrades_where_the_encoding_lacks_a_character(
    start: Callable[..., Any], folder: Path, encoding: str
) -> None:
    name = "ascii" if encoding == "locale" else encoding
    (folder / "café.yaml").write_text("stem: {é: relu}\ndpeth: 3\n", "utf-8")
    for arguments, status, wanted in (
        ([*COMPARE, "plain,refusing", "--bisect", "--html", "r.html", "--junit", "r.xml"], 0, "max |d|"),
        (["resnet-spec", "show", "a.yaml", "--json"], 0, '"name": "a"'),
        (["resnet-spec", "draw", "cifar/resnet20"], 0, ">input 3&#215;32&#215;32<"),
        (["resnet-spec", "validate", "café.yaml"], 2, "dpeth"),
    ):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with start(arguments, env=ENCODINGS[encoding], **pipes) as running:
            out, err = (part.decode(name) for part in running.communicate(timeout=120))
        assert (running.returncode, "Traceback" in err) == (status, False), err
        assert wanted in out + err
        assert ("2×6" if name == "cp1252" else "2x6") in out or "--bisect" not in arguments
    assert "2×6" in (folder / "r.html").read_text("utf-8")
    assert "2×6" in (folder / "r.xml").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "encoding", "wanted"),
    [
        ("|Δ| 2×3 … ∞ → café", "utf-8", "|Δ| 2×3 … ∞ → café"),
        ("|Δ| 2×3 … ∞ → café", "ascii", "|d| 2x3 ... inf -> caf\\xe9"),
        ("|Δ| 2×3 … ∞ → café", "cp1252", "|d| 2×3 … inf -> café"),
        ("┏━┓│└╯", "ascii", "+-+|++"),
        ("\udc80 語", "utf-8", "\\udc80 語"),
    ],
)
def test_a_text_becomes_what_an_encoding_can_hold(text: str, encoding: str, wanted: str) -> None:
    assert encodable(text, encoding) == wanted


def test_a_stream_may_outlive_the_one_below() -> None:
    """Its finalizer closes it, and with Python 3.13 an error there is reported."""
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream = Stream(below)
    below.close()

    stream.close()
