"""The pytest plugin as a team has it: real pytest runs in a project of its own, with NumPy backends."""

from __future__ import annotations

import ntpath
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from resnet_spec.pytest_plugin import from_here
from tests.resnet_spec.parity.numpy_backends import BACKENDS
from tests.third_party import NUMPY_BACKENDS, distribution, python_path

TINY = """
    input: {channels: 3, height: 16, width: 16}
    stem:
      pool: global_avg_pool
      flatten: flatten
      one: {linear: {features: 8}}
      relu: relu
      fc: {linear: {features: 3}}
"""
THIRD = """
    import os
    import signal
    from pathlib import Path
    from numpy_backends import Plain

    class Counted(Plain):
        name = "counted"

        def __init__(self):
            super().__init__()
            with Path(__file__).with_name("started").open("a") as file:
                print(os.getpid(), file=file)

    class Fragile(Plain):
        name = "fragile"

        def compile(self, graph, **settings):
            if graph.input.height == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().compile(graph, **settings)
"""
TESTS = """
    import pytest
    import resnet_spec

    RIGHT = ("plain", "counted")

    @pytest.mark.resnet_parity("specs/tiny.yaml", backends=RIGHT, sizes=[(16, 16), (15, 18)])
    def test_agrees():
        ...

    @pytest.mark.resnet_parity("specs/tiny.yaml", backends=RIGHT)
    class TestMethods:
        def test_body_runs_after_an_agreement(self):
            assert "the body" == "was run"

    @pytest.mark.resnet_parity("specs/tiny.yaml", backends=("plain", "leaky"))
    def test_differs():
        raise RuntimeError("the body was run")

    @pytest.mark.resnet_parity("specs/tiny.yaml", backends=("plain", "fragile"), sizes=[(13, 16), (16, 16)])
    def test_killed():
        ...

    @pytest.mark.resnet_parity("specs/tiny.yaml", backends=("plain", "tensorflw"))
    def test_missing():
        ...

    @pytest.mark.resnet_parity("specs/wrong.yaml", backends=RIGHT)
    def test_wrong():
        ...

    def test_callable(resnet_parity):
        report = resnet_parity("tiny.yaml", backends=RIGHT, size=(17, 16), overrides={"stem.fc.linear.features": 2})
        assert (report.passed, report.size) == (True, (17, 16))

    def test_of_others():
        raise resnet_spec.BackendError("raised by a test that compares nothing")
"""
INTERRUPTED = """
    import signal

    def test_first(resnet_parity):
        resnet_parity("specs/tiny.yaml", backends=("plain", "counted"))
        signal.raise_signal(signal.SIGINT)

    def test_second():
        ...
"""
CLASSES = {"counted": "third:Counted", "fragile": "third:Fragile"}


class Project:
    """A folder with specs and tests, and with backends of a third party's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        distribution(folder, "third", BACKENDS | CLASSES, NUMPY_BACKENDS)
        self.write("third.py", THIRD)
        self.write("pytest.ini", "[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n")
        self.write("specs/tiny.yaml", TINY)
        self.write("specs/wrong.yaml", "stem: {x: rellu}\n")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")

    def run(self, *arguments: str, below: str = ".") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": python_path(self.folder), "PY_COLORS": "0", "COLUMNS": "200"}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(
            command, cwd=self.folder / below, env=environment, capture_output=True, text=True, timeout=300
        )

    def started(self) -> list[int]:
        """The processes of the backend that records when it starts."""
        return list(map(int, (self.folder / "started").read_text().split()))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class Outcome(NamedTuple):
    """One run of all the tests above: how it ended, and what is in its files."""

    done: subprocess.CompletedProcess[str]
    cases: dict[str, ElementTree.Element]
    page: str
    started: list[int]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    project = Project(tmp_path_factory.mktemp("project"))
    project.write("specs/test_parity.py", TESTS)
    # From a folder below the root, where both 'specs/tiny.yaml' and 'tiny.yaml' are found.
    options = ("-p", "no:xdist", "--resnet-parity-html=../out/page.html", "--junitxml=../out/junit.xml")
    done = project.run(*options, below="specs")
    junit = ElementTree.parse(project.folder / "out" / "junit.xml")
    cases = {case.attrib["name"]: case for case in junit.iter("testcase")}
    return Outcome(done, cases, (project.folder / "out" / "page.html").read_text("utf-8"), project.started())


def problem_of(case: ElementTree.Element) -> tuple[str, str]:
    """The kind of problem that JUnit XML reports for a case, and its text."""
    ((kind, text),) = ((child.tag, child.text or "") for child in case)
    return kind, text


def test_each_spec_and_size_is_a_test_that_passes_where_backends_agree(outcome: Outcome) -> None:
    assert not list(outcome.cases["test_agrees[tiny-16x16]"])
    assert not list(outcome.cases["test_agrees[tiny-15x18]"])
    assert not list(outcome.cases["test_callable"])


def test_a_difference_is_a_failure_with_figures_and_cause_and_no_traceback(outcome: Outcome) -> None:
    kind, text = problem_of(outcome.cases["test_differs[tiny]"])
    assert kind == "failure"
    assert text.startswith("tiny  2×16×16  DIFFERS\n")
    assert "leaky computes relu differently" in text
    assert "a leaky ReLU of slope 0.1" in text
    assert "pytest_plugin.py" not in text
    assert "the body was run" not in text


def test_a_backend_that_cannot_be_run_is_an_error(outcome: Outcome) -> None:
    for name, wanted in (
        ("test_killed[tiny-13x16]", "the fragile backend's process was killed by SIGKILL"),
        ("test_missing[tiny]", "no backend is named 'tensorflw'; did you mean 'tensorflow'?"),
    ):
        kind, text = problem_of(outcome.cases[name])
        assert kind == "error", name
        assert wanted in text
        assert len(text.splitlines()) == 1
        assert f"BackendError: {wanted}" in outcome.cases[name][0].attrib["message"]


def test_a_backend_that_died_is_started_again_for_the_next_test(outcome: Outcome) -> None:
    assert not list(outcome.cases["test_killed[tiny-16x16]"])


def test_a_wrong_spec_is_a_failure_that_says_where(outcome: Outcome) -> None:
    kind, text = problem_of(outcome.cases["test_wrong[wrong]"])
    assert kind == "failure"
    assert text == "wrong.yaml:1:11: stem.x: unknown operation, block or layer 'rellu'; did you mean 'relu'?"


def test_the_body_of_a_marked_function_is_run(outcome: Outcome) -> None:
    kind, text = problem_of(outcome.cases["test_body_runs_after_an_agreement[tiny]"])
    assert kind == "failure"
    assert "assert 'the body' == 'was run'" in text


def test_tests_of_others_are_left_alone(outcome: Outcome) -> None:
    kind, text = problem_of(outcome.cases["test_of_others"])
    assert kind == "failure"
    assert "def test_of_others" in text


def test_the_terminal_distinguishes_errors_from_failures(outcome: Outcome) -> None:
    assert outcome.done.returncode == 1
    assert "4 failed, 4 passed, 2 errors" in outcome.done.stdout
    assert (
        "ERROR test_parity.py::test_killed[tiny-13x16] - resnet_spec.errors.BackendError: the fragile"
        in outcome.done.stdout
    )


def test_backends_are_started_once_and_ended(outcome: Outcome) -> None:
    assert len(outcome.started) == 1
    assert not any(map(is_alive, outcome.started))


def test_the_page_holds_every_comparison(outcome: Outcome) -> None:
    assert "6 comparisons of specs and 3 errors on ../out/page.html" in outcome.done.stdout
    assert "a leaky ReLU of slope 0.1" in outcome.page
    for size in ("2×16×16", "2×15×18", "2×17×16"):
        assert size in outcome.page


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ("specs/tiny.yaml 13×16 in specs/test_parity.py::test_killed[tiny-13x16]", "killed by SIGKILL"),
        ("specs/tiny.yaml in specs/test_parity.py::test_missing[tiny]", "no backend is named &#39;tensorflw&#39;"),
        ("specs/wrong.yaml in specs/test_parity.py::test_wrong[wrong]", "wrong.yaml:1:11: stem.x: unknown operation"),
    ],
)
def test_the_page_holds_what_could_not_be_compared(outcome: Outcome, comparison: str, message: str) -> None:
    assert "<h1>5 of 9 specs agree</h1>" in outcome.page
    (row,) = (row for row in outcome.page.split("<tr>") if comparison in row)
    assert message in row
    assert "not compared" in row


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_an_interrupted_session_ends_its_backends(project: Project) -> None:
    project.write("test_interrupted.py", INTERRUPTED)
    done = project.run()
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert not any(map(is_alive, project.started()))


@pytest.mark.slow
def test_workers_of_a_parallel_run_pass_on_their_reports(project: Project) -> None:
    project.write(
        "test_parallel.py",
        """
        import pytest

        @pytest.mark.resnet_parity("specs/tiny.yaml", backends=("plain", "counted"))
        def test_agrees(): ...

        @pytest.mark.resnet_parity("specs/tiny.yaml", backends=("plain", "nobody"))
        def test_missing(): ...
        """,
    )
    done = project.run("-n", "1", "--resnet-parity-html=page.html")
    assert "1 passed, 1 error" in done.stdout
    assert "1 comparison of specs and 1 error on page.html" in done.stdout
    page = (project.folder / "page.html").read_text("utf-8")
    assert "2×16×16" in page
    assert "no backend is named &#39;nobody&#39;" in page
    assert not any(map(is_alive, project.started()))


def test_a_page_replaces_only_a_page(project: Project) -> None:
    project.write("test_nothing.py", "")
    done = project.run("--resnet-parity-html=test_nothing.py/page.html")
    assert "ERROR: " in done.stderr
    assert "File exists" in done.stderr
    project.write("test_nothing.py", "def test_it(): ...")
    done = project.run("--resnet-parity-html=test_nothing.py")
    assert "ERROR: test_nothing.py exists already and is not HTML; it is not replaced" in done.stderr


WRONG_MARKERS = {
    'resnet_parity("a.yaml", size=(16, 16))': "got multiple values for keyword argument 'size'",
    'resnet_parity("a.yaml", bach=1)': "got an unexpected keyword argument 'bach'",
    "resnet_parity()": "the marker resnet_parity names no spec",
    'resnet_parity(["a.yaml", "b.yaml"])': "a spec is a name or a path, not ['a.yaml', 'b.yaml']",
    'resnet_parity("a.yaml", sizes="16x16")': "sizes is a list of pairs (height, width), or of sizes of",
    'resnet_parity("a.yaml", sizes=["16x16"])': "sizes is a list of pairs (height, width), or of sizes of",
    'resnet_parity("a.yaml", sizes=(16, 16))': "sizes is a list of pairs (height, width), or of sizes of",
    'resnet_parity("a.yaml", sizes=16)': "sizes is a list of pairs (height, width), or of sizes of",
    'resnet_parity("a.yaml", backends="torch")': "backends is a sequence of names, such as ('torch', 'tensorflow')",
    'resnet_partiy("a.yaml")': "'resnet_partiy' not found in `markers` configuration option",
}


def test_a_wrong_marker_is_reported_when_tests_are_collected(project: Project) -> None:
    for number, marker in enumerate(WRONG_MARKERS):
        project.write(f"test_{number}.py", f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(): ...\n")
    done = project.run("--collect-only")
    assert f"{len(WRONG_MARKERS)} errors during collection" in done.stdout
    for wanted in WRONG_MARKERS.values():
        assert wanted in done.stdout


def test_a_wrong_argument_of_the_fixture_is_a_failure(project: Project) -> None:
    project.write(
        "test_fixture.py",
        """
        import pytest

        @pytest.mark.parametrize("wrong", [{"backends": "torch"}, {"size": "16"}, {"size": 16}, {"size": (1, 2, 3, 4)}])
        def test_it(resnet_parity, wrong):
            resnet_parity("specs/tiny.yaml", **wrong)
        """,
    )
    done = project.run()
    assert "4 failed" in done.stdout
    for wanted in (
        "a comparison takes two backends or more, such as ('torch', 'tensorflow'), not 'torch'",
        "size is a pair (height, width), not '16'",
        "size is a pair (height, width), not 16",
        "size is a pair (height, width), not (1, 2, 3, 4)",
    ):
        assert f"Failed: {wanted}" in done.stdout


def test_a_marker_that_cannot_work_does_not_pass(project: Project) -> None:
    project.write(
        "test_marker.py",
        """
        import unittest
        import pytest

        class TestCase(unittest.TestCase):
            @pytest.mark.resnet_parity("specs/tiny.yaml")
            def test_it(self): ...
        """,
    )
    done = project.run()
    assert "1 error" in done.stdout
    assert "the marker resnet_parity works for functions and for methods of plain classes only" in done.stdout


def test_pytest_starts_without_what_a_comparison_needs(project: Project) -> None:
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-X", "importtime", "-m", "pytest", "-p", "resnet_spec.pytest_plugin"]
    for option, wanted in (
        ("--help", "--resnet-parity-html=PATH"),
        ("--markers", "@pytest.mark.resnet_parity(*specs,"),
    ):
        done = subprocess.run([*command, option], cwd=project.folder, env=environment, capture_output=True, text=True)
        assert wanted in done.stdout
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert "resnet_spec" in imported
        assert imported.isdisjoint({"torch", "tensorflow", "keras", "onnx", "pydantic", "numpy", "yaml", "rich"})


def test_a_path_on_another_drive_stays_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "spec.yaml") == "spec.yaml"

    def across_drives(path: object) -> str:
        # As ntpath does.
        return ntpath.relpath(r"D:\specs\spec.yaml", r"C:\project")

    monkeypatch.setattr(os.path, "relpath", across_drives)
    assert from_here(tmp_path / "spec.yaml") == str(tmp_path / "spec.yaml")
