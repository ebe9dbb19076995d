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
from typing import TYPE_CHECKING, Any, TypeGuard

import pytest

from resnet_spec.errors import BackendError, ResnetSpecError
from resnet_spec.errors.extras import require

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape
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
_REPORTS = pytest.StashKey["list[ParityReport]"]()
_ERRORS = pytest.StashKey["dict[str, str]"]()
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
        size: Shape | None = None,
        weights: str | Path | None = None,
        overrides: Overrides | None = None,
        seed: int = 0,
        batch: int = 2,
        bisect_failures: bool = True,
        training_steps: int | None = None,
    ) -> ParityReport:
        """The report of two backends that agree; for the arguments see ``resnet_spec.compare``.

        Files are looked for in pytest's root folder, then in the folder pytest was started in. If the backends differ
        or the spec is wrong, the test fails; ``bisect_failures`` locates and explains the difference. A backend that
        is missing or dies raises BackendError, which pytest reports as an error.
        """
        options: dict[str, Any] = {"overrides": overrides, "seed": seed, "size": size, "batch": batch}
        options["weights"] = None if weights is None else self._resolved(weights)
        names = backends if isinstance(backends, str) else tuple(backends)
        try:
            report = self._compared(names, self._resolved(spec), options, training_steps)
            if not report.passed and bisect_failures:
                report = self._bisected(report, names, self._resolved(spec), options)
        except ResnetSpecError as error:
            comparison = " ".join(
                [str(spec), *(["×".join(map(str, size))] if size and _is_size(size) else []), "in", self._item.nodeid]
            )
            self._item.stash.setdefault(_ERRORS, {})[comparison] = str(error)
            if _could_not_be_run(error):
                raise
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        self._item.stash.setdefault(_REPORTS, []).append(report)
        if not report.passed:
            pytest.fail(_text(report), pytrace=False)
        return report

    def _compared(
        self, backends: Sequence[str], spec: str | Path, options: dict[str, Any], training_steps: int | None
    ) -> ParityReport:
        from resnet_spec.parity.compare import at_size
        from resnet_spec.spec.loader import load

        # Report a wrong spec before frameworks start, which takes seconds.
        load(spec, at_size(options["overrides"], options["size"])).to_graph()
        return self._running.run(backends, lambda it: it.run(spec, **options, training_steps=training_steps))

    def _bisected(
        self, report: ParityReport, backends: Sequence[str], spec: str | Path, options: dict[str, Any]
    ) -> ParityReport:
        """Add the nodes and findings of a bisection to a report, if its logits differ."""
        if all(difference.passed for difference in report.differences if difference.quantity == "logits"):
            return report
        try:
            located = self._running.run(backends, lambda it: it.run(spec, **options, bisect=True))
        except BackendError:
            # The report is complete without a bisection.
            return report
        return replace(report, nodes=located.nodes, findings=located.findings, outline=located.outline)

    def _resolved(self, path: str | Path) -> str | Path:
        """Return the path of an existing file relative to the current folder; names of specs and weights unchanged."""
        config = self._item.config
        for folder in (config.rootpath, config.invocation_params.dir):
            if (folder / path).is_file():
                return from_here(folder / path)
        return path


def from_here(path: Path) -> str:
    """Return a path relative to the current folder, or absolute if it is on another drive of Windows."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


class _Running:
    """Running backends by their names; tests share them until the session ends."""

    def __init__(self) -> None:
        self._started: dict[Sequence[str], tuple[ExitStack, Comparison]] = {}

    def run(self, backends: Sequence[str], task: Callable[[Comparison], ParityReport]) -> ParityReport:
        """Run a task in backends, which are started if needed."""
        if backends not in self._started:
            self._started[backends] = self._start(backends)
        stack, comparison = self._started[backends]
        try:
            return task(comparison)
        except BaseException:
            # A backend that died, or was interrupted during an answer, cannot serve the next test.
            del self._started[backends]
            stack.close()
            raise

    def _start(self, backends: Sequence[str]) -> tuple[ExitStack, Comparison]:
        from resnet_spec.parity.compare import comparing

        stack = ExitStack()
        return stack, stack.enter_context(comparing(backends))

    def close(self) -> None:
        """End all backends."""
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
    """Yield the arguments of ``ResnetParity.__call__`` for each spec and size of a marker."""
    options = {**mark.kwargs}
    sizes = options.pop("sizes", None)
    if not mark.args:
        pytest.fail(f"the marker {_MARKER} names no spec", pytrace=False)
    try:
        for spec in mark.args:
            _check_arguments(spec, sizes, options.get("backends", BACKENDS))
            for size in sizes or (None,):
                case = inspect.signature(ResnetParity.__call__).bind(None, spec=spec, size=size, **options)
                yield {name: value for name, value in case.arguments.items() if name != "self"}
    except TypeError as error:
        raise pytest.fail.Exception(f"the marker {_MARKER}: {error}", pytrace=False) from None


def _check_arguments(spec: object, sizes: object, backends: object) -> None:
    """Raise TypeError for arguments of a marker that would be read letter by letter, or not at all."""
    if not isinstance(spec, str | os.PathLike):
        raise TypeError(f"a spec is a name or a path, not {spec!r}")
    if sizes is not None and not (_is_sequence(sizes) and all(size is None or _is_size(size) for size in sizes)):
        raise TypeError(f"sizes is a list of pairs (height, width), or of sizes of signals or volumes, not {sizes!r}")
    if not _is_sequence(backends):
        raise TypeError(f"backends is a sequence of names, such as {BACKENDS}, not {backends!r}")


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


_MAX_RANK = 3
"""The axes of positions of a volume; the core's own constant would import pydantic."""


def _is_size(value: object) -> bool:
    return _is_sequence(value) and 1 <= len(value) <= _MAX_RANK


def _name(case: dict[str, Any]) -> str:
    spec, size = str(case["spec"]), case["size"]
    name = Path(spec).with_suffix("").name if spec.endswith((".yaml", ".yml")) else spec
    return f"{name}-{'x'.join(map(str, size))}" if size else name


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose marker has no effect, instead of passing without a comparison."""
    if item.get_closest_marker(_MARKER) and _case(item) is None:
        pytest.fail(f"the marker {_MARKER} works for functions and for methods of plain classes only", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run the comparison of a marker, then the function."""
    case = _case(pyfuncitem)
    if case is not None:
        ResnetParity(pyfuncitem)(**case)
    return (yield)


def _case(item: Any) -> dict[str, Any] | None:
    """Return the arguments of a marker for this test."""
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get(_CASE)


# -- reporting ---------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    group = parser.getgroup("resnet-spec")
    group.addoption("--resnet-parity-html", metavar="PATH", type=Path, help="Write an HTML page of all comparisons.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the page's writer."""
    config.addinivalue_line("markers", _HELP)
    running = config.stash[_RUNNING] = _Running()
    # Called however the session ends, on Ctrl-C too.
    config.add_cleanup(running.close)
    path: Path | None = config.getoption("--resnet-parity-html")
    if path is not None and not hasattr(config, "workerinput"):
        from resnet_spec.weights.atomic import check_target

        try:
            require("reports", "--resnet-parity-html", "jinja2")
            path.parent.mkdir(parents=True, exist_ok=True)
            check_target(path, report="HTML")
        except (ResnetSpecError, OSError) as error:
            raise pytest.UsageError(str(error)) from None
        config.pluginmanager.register(_Page(path))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a backend that failed as an error of the test, and attach the reports for the page."""
    report = yield
    if _case(item) is None and "resnet_parity" not in getattr(item, "fixturenames", ()):
        return report
    if report.failed and call.excinfo is not None and _could_not_be_run(call.excinfo.value):
        # Every reader of reports, JUnit XML and parallel runs included, counts a failed setup as an error.
        report.when = "setup" if report.when == "call" else report.when
        report.longrepr = call.excinfo.getrepr(style="value", chain=False)
    if item.config.getoption("--resnet-parity-html"):
        # Plain data, since xdist sends the report to another process.
        found, item.stash[_REPORTS] = item.stash.get(_REPORTS, list["ParityReport"]()), []
        errors, item.stash[_ERRORS] = item.stash.get(_ERRORS, dict[str, str]()), {}
        vars(report)["resnet_parity"] = {"reports": [asdict(one) for one in found], "errors": errors}
    return report


def _could_not_be_run(error: BaseException) -> bool:
    return isinstance(error, ResnetSpecError) and error.exit_status == BackendError.exit_status


def _text(report: ParityReport) -> str:
    """Return a report as text, as the command prints it."""
    from io import StringIO

    from rich.console import Console

    from resnet_spec.parity.render.tables import parts

    screen = Console(file=StringIO(), width=_WIDTH, color_system=None)
    with screen.capture() as text:
        for part in parts([report]):
            screen.print(part, highlight=False)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


class _Page:
    """Collects the reports of all tests, also of xdist's workers, and writes them when the session ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reports: list[ParityReport] = []
        self._errors: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found: dict[str, Any] = getattr(report, "resnet_parity", {"reports": [], "errors": {}})
        self._errors |= found["errors"]
        if found["reports"]:
            from pydantic import TypeAdapter

            from resnet_spec.parity.report import ParityReport

            self._reports += TypeAdapter(list[ParityReport]).validate_python(found["reports"])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        from resnet_spec.parity.render.html import html_page
        from resnet_spec.weights.atomic import replacing

        with replacing(self._path, report="HTML") as temporary:
            temporary.write_text(html_page(self._reports, self._errors), "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        text = f"{_counted(len(self._reports), 'comparison')} of specs"
        text += f" and {_counted(len(self._errors), 'error')}" if self._errors else ""
        terminalreporter.write_sep("-", f"{text} on {self._path}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
