"""A pytest plugin: tests compare a team's specs in two backends, in a few lines; docs/ci.md shows them.

pytest loads it wherever this package is installed, so nothing heavy is imported before a test asks for a comparison.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resnet_spec.errors import BackendError, ResnetSpecError

if TYPE_CHECKING:
    from resnet_spec.parity.compare import Comparison
    from resnet_spec.parity.report import ParityReport
    from resnet_spec.spec.loader import Overrides

BACKENDS = ("torch", "tensorflow")

_MARKER = "resnet_parity"
_CASE = "_resnet_parity_case"
_HELP = (
    f"{_MARKER}(*specs, sizes=None, backends={BACKENDS}, weights=None, overrides=None, seed=0, batch=2, "
    "bisect_failures=True, training_steps=None): compare specs in two backends before the function is run; each spec "
    "and size is a test of its own."
)
_RUNNING = pytest.StashKey["_Running"]()
_FOUND = pytest.StashKey["list[ParityReport]"]()
_WIDTH = 120


class ResnetParity:
    """The fixture ``resnet_parity``: compares a spec in running backends, and fails the test where they differ."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._running = item.config.stash[_RUNNING]

    def __call__(
        self,
        spec: str | Path,
        *,
        backends: Sequence[str] = BACKENDS,
        size: tuple[int, int] | None = None,
        weights: str | Path | None = None,
        overrides: Overrides | None = None,
        seed: int = 0,
        batch: int = 2,
        bisect_failures: bool = True,
        training_steps: int | None = None,
    ) -> ParityReport:
        """The report of two backends that agree; for the arguments see ``resnet_spec.compare``.

        Files are looked for in pytest's root folder, then in the one it was started in. Where the backends differ, or
        the spec is wrong, the test fails; ``bisect_failures`` looks for the place and the cause. A backend that is
        missing or killed is no difference: that raises BackendError, which pytest then shows as an error.
        """
        options: dict[str, Any] = {"overrides": overrides, "seed": seed, "size": size, "batch": batch}
        options["weights"] = None if weights is None else self._found(weights)
        try:
            report = self._compared(tuple(backends), self._found(spec), options, training_steps)
            if not report.passed and bisect_failures:
                report = self._bisected(report, tuple(backends), self._found(spec), options)
        except ResnetSpecError as error:
            if _could_not_be_run(error):
                raise
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        self._item.stash.setdefault(_FOUND, []).append(report)
        if not report.passed:
            pytest.fail(_text(report), pytrace=False)
        return report

    def _compared(
        self, backends: tuple[str, ...], spec: str | Path, options: dict[str, Any], training_steps: int | None
    ) -> ParityReport:
        from resnet_spec.parity.compare import at_size
        from resnet_spec.spec.loader import load

        # Report a wrong spec before frameworks start, which takes seconds.
        load(spec, at_size(options["overrides"], options["size"])).to_graph()
        return self._running.run(backends, lambda it: it.run(spec, **options, training_steps=training_steps))

    def _bisected(
        self, report: ParityReport, backends: tuple[str, ...], spec: str | Path, options: dict[str, Any]
    ) -> ParityReport:
        """The report with the place and the cause of its difference, as far as they are found."""
        if all(difference.passed for difference in report.differences if difference.quantity == "logits"):
            return report
        try:
            located = self._running.run(backends, lambda it: it.run(spec, **options, bisect=True))
        except BackendError:
            # The difference was found, whatever became of a backend since.
            return report
        return replace(report, nodes=located.nodes, findings=located.findings)

    def _found(self, path: str | Path) -> str | Path:
        """A path from here; a shipped name, or one of published weights, stays what it is."""
        config = self._item.config
        for folder in (config.rootpath, config.invocation_params.dir):
            if (folder / path).is_file():
                return from_here(folder / path)
        return path


def from_here(path: Path) -> str:
    """A path relative to the current folder, or absolute where none leads to it: on another drive of Windows."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


class _Running:
    """Backends that were started for a test and stay for the next ones until the session ends, by their names."""

    def __init__(self) -> None:
        self._started: dict[tuple[str, ...], tuple[ExitStack, Comparison]] = {}

    def run(self, backends: tuple[str, ...], task: Callable[[Comparison], ParityReport]) -> ParityReport:
        """Do something with running backends."""
        if backends not in self._started:
            self._started[backends] = self._start(backends)
        stack, comparison = self._started[backends]
        try:
            return task(comparison)
        except BaseException:
            # One that died or was interrupted in the middle of an answer is of no use to the next test.
            del self._started[backends]
            stack.close()
            raise

    def _start(self, backends: tuple[str, ...]) -> tuple[ExitStack, Comparison]:
        from resnet_spec.parity.compare import comparing

        stack = ExitStack()
        return stack, stack.enter_context(comparing(backends))

    def close(self) -> None:
        """End them all."""
        with ExitStack() as every:
            for stack, _ in self._started.values():
                every.push(stack)


@pytest.fixture
def resnet_parity(request: pytest.FixtureRequest) -> ResnetParity:
    """Compare a spec in two backends, ``resnet_parity("my.yaml", size=(64, 64))``; the test fails if they differ."""
    return ResnetParity(request.node)


# -- the marker --------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each spec and size of a marker a test of its own."""
    cases = [case for mark in metafunc.definition.iter_markers(_MARKER) for case in _cases(mark)]
    if cases:
        metafunc.fixturenames.append(_CASE)
        metafunc.parametrize(_CASE, cases, ids=map(_name, cases), indirect=True)


def _cases(mark: pytest.Mark) -> Iterator[dict[str, Any]]:
    """The arguments of ``ResnetParity.__call__`` that a marker asks for."""
    options = {**mark.kwargs}
    sizes = options.pop("sizes", None) or (None,)
    if not mark.args:
        pytest.fail(f"the marker {_MARKER} names no spec", pytrace=False)
    for spec in mark.args:
        for size in sizes:
            try:
                case = inspect.signature(ResnetParity.__call__).bind(None, spec=spec, size=size, **options)
            except TypeError as error:
                raise pytest.fail.Exception(f"the marker {_MARKER}: {error}", pytrace=False) from None
            yield {name: value for name, value in case.arguments.items() if name != "self"}


def _name(case: dict[str, Any]) -> str:
    spec, size = str(case["spec"]), case["size"]
    name = Path(spec).with_suffix("").name if spec.endswith((".yaml", ".yml")) else spec
    return f"{name}-{'x'.join(map(str, size))}" if size else name


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail where a marker cannot work, instead of passing without a comparison."""
    if item.get_closest_marker(_MARKER) and _case(item) is None:
        pytest.fail(f"the marker {_MARKER} works for functions and for methods of plain classes alone", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Compare what a marker names, then run the function."""
    case = _case(pyfuncitem)
    if case is not None:
        ResnetParity(pyfuncitem)(**case)
    return (yield)


def _case(item: Any) -> dict[str, Any] | None:
    """What a marker asks for in this test."""
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get(_CASE)


# -- reporting ---------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    group = parser.getgroup("resnet-spec")
    group.addoption(
        "--resnet-parity-html", metavar="PATH", type=Path, help="Write a page of all comparisons, for people."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what writes the page."""
    config.addinivalue_line("markers", _HELP)
    running = config.stash[_RUNNING] = _Running()
    # Called however the session ends, on Ctrl-C too.
    config.add_cleanup(running.close)
    path: Path | None = config.getoption("--resnet-parity-html")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(path))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a backend that could not be run an error of the test, and hand on what was found."""
    report = yield
    if _case(item) is None and "resnet_parity" not in getattr(item, "fixturenames", ()):
        return report
    if report.failed and call.excinfo is not None and _could_not_be_run(call.excinfo.value):
        # Every reader of reports, JUnit XML and parallel runs included, counts a failed setup as an error.
        report.when = "setup" if report.when == "call" else report.when
        report.longrepr = call.excinfo.getrepr(style="value", chain=False)
    if item.config.getoption("--resnet-parity-html"):
        # Plain data, since the report may have been made in another process.
        found, item.stash[_FOUND] = item.stash.get(_FOUND, list["ParityReport"]()), []
        vars(report)["resnet_parity"] = [asdict(one) for one in found]
    return report


def _could_not_be_run(error: BaseException) -> bool:
    return isinstance(error, ResnetSpecError) and error.exit_status == BackendError.exit_status


def _text(report: ParityReport) -> str:
    """A report as the terminal has it."""
    from io import StringIO

    from rich.console import Console

    from resnet_spec.parity.render.tables import parts

    screen = Console(file=StringIO(), width=_WIDTH, color_system=None)
    with screen.capture() as text:
        for part in parts([report]):
            screen.print(part, highlight=False)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


class _Page:
    """Gathers the reports of all tests, from whichever process, and writes them when the session ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reports: list[ParityReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found: list[dict[str, Any]] = getattr(report, "resnet_parity", [])
        if found:
            from pydantic import TypeAdapter

            from resnet_spec.parity.report import ParityReport

            self._reports += TypeAdapter(list[ParityReport]).validate_python(found)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        from resnet_spec.parity.render.html import html_page
        from resnet_spec.weights.atomic import replacing

        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path, force=True) as temporary:
            temporary.write_text(html_page(self._reports), "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        comparisons = "1 comparison" if len(self._reports) == 1 else f"{len(self._reports)} comparisons"
        terminalreporter.write_sep("-", f"{comparisons} of specs on {self._path}")
