"""``resnet-spec parity`` and ``resnet-spec record``: compare backends directly, or through a trace."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.backend.dtypes import HALF_PRECISIONS, HalfPrecision
from resnet_spec.cli.common import (
    BACKENDS,
    CHANGED_SINCE,
    JSON,
    SEED,
    SET,
    SPEC,
    SPECS,
    as_options,
    backend_option,
    changed_specs,
    console,
    print_json,
    progress,
    weights_option,
)
from resnet_spec.errors.extras import require
from resnet_spec.operations.fields import MAX_RANK

if TYPE_CHECKING:
    from resnet_spec.errors import Problem
    from resnet_spec.parity.report import ParityReport
    from resnet_spec.spec.loader import Overrides
    from resnet_spec.spec.spec import Spec

_SIZE = click.option(
    "--size",
    metavar="H[xW]",
    help="Height and width of the images, length of signals, DxHxW of volumes.  [default: the spec's]",
)
_BATCH = click.option("--batch", default=2, show_default=True, type=click.IntRange(1, 1024), help="Number of images.")
_WEIGHTS = weights_option("Compare under these weights instead of random ones.")


@click.command()
@SPECS
@BACKENDS
@CHANGED_SINCE
@click.option(
    "--against", metavar="MODEL|TRACE", type=Path,
    help="Compare with a model: a file (.onnx, .pt2, .keras, .h5, .pb), a SavedModel folder, or "
    "package.module:function for a function that returns one. Or with a trace (.safetensors) that 'record' wrote.",
)  # fmt: skip
@backend_option("The backend to compare with a model or a trace.")
@_WEIGHTS
@SET
@SEED
@_SIZE
@_BATCH
@click.option("--optimize", is_flag=True, help="Also compare each backend's optimized form.")
@click.option(
    "--quantization", metavar="FILE",
    help="Also compare each backend's 8-bit form, as 'quantize' wrote it, with an exact reference.",
)  # fmt: skip
@click.option(
    "--half", type=click.Choice(HALF_PRECISIONS),
    help="Also compare each backend's half precision with its own float64.",
)  # fmt: skip
@click.option("--bisect", is_flag=True, help="Compare every node, and look for the cause of a difference.")
@click.option(
    "--training", "training_steps", metavar="STEPS", type=click.IntRange(0, 1000),
    help="Also compare gradients, running statistics, and this many steps of SGD and AdamW.",
)  # fmt: skip
@click.option(
    "--replicas", metavar="COUNT", type=click.IntRange(2, 64),
    help="With --training, also compare training on this many replicas, each with its part of the batch.",
)  # fmt: skip
@click.option("--junit", metavar="PATH", type=Path, help="Write JUnit XML, for a CI server.")
@click.option("--html", metavar="PATH", type=Path, help="Write a self-contained HTML page.")
@JSON
def parity(
    specs: tuple[str, ...],
    backends: str,
    revision: str | None,
    against: Path | None,
    backend: str | None,
    weights: str | None,
    overrides: tuple[str, ...],
    seed: int,
    size: str | None,
    batch: int,
    optimize: bool,
    quantization: str | None,
    half: HalfPrecision | None,
    bisect: bool,
    training_steps: int | None,
    replicas: int | None,
    junit: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Run backends with the same weights and images, and compare the results.

    With --against MODEL, compare the layers of the model and of SPEC, then run both with the model's weights.

    If a SPEC cannot be compared, the others still are. The exit status is the highest that applies: 1 if a spec
    differs, 2 if the input is wrong, 3 if a spec could not be compared because a backend failed.
    """
    from resnet_spec.parity.compare import check_replicas
    from resnet_spec.weights.atomic import check_target

    extent = parse_extent(size)
    if html is not None:
        require("reports", "an HTML report", "jinja2")
        check_target(html, report="HTML")
    if junit is not None:
        check_target(junit, report="XML")
    results = _Results()
    if against is not None and not _is_trace(against):
        options = {"weights": weights, "seed": seed, "batch": batch, "bisect": bisect}
        with results.recording(specs[0] if specs else str(against)):
            results.add(_against_model(against, backend, backends, specs, overrides, extent, options))
    elif against is not None or backend is not None:
        with results.recording(specs[0] if specs else str(against)):
            results.add(_against(against, backend, specs, overrides, bisect=bisect))
    else:
        if revision is not None:
            specs = tuple(changed_specs(revision, specs))
        elif not specs:
            raise click.UsageError("name a spec")
        if replicas is not None and training_steps is None:
            raise click.UsageError("--replicas takes --training too: replicas are compared in training only")
        if replicas is not None:
            check_replicas(replicas, batch, training_steps)
        loaded = _loaded(specs, overrides, extent, weights)
        options = {"weights": weights, "seed": seed, "batch": batch, "bisect": bisect, "training_steps": training_steps}
        options |= {"optimize": optimize, "quantization": quantization, "half": half}
        _compare(loaded, [name for name in backends.split(",") if name], replicas, results, options)
    _write(results, junit, html)
    if as_json:
        print_json(results.entries)
    else:
        _print(results.reports)
    if len(results.entries) > 1:
        for spec, message in results.errors.items():
            click.echo(f"{spec}: {message}", err=True)
    else:
        for message in results.errors.values():
            click.echo(message, err=True)
    if results.status:
        click.get_current_context().exit(results.status)


class _Results:
    """The report or the error of each spec, in order."""

    def __init__(self) -> None:
        self.reports: list[ParityReport] = []
        self.errors: dict[str, str] = {}
        self.entries: list[dict[str, Any]] = []
        self.status = 0

    def add(self, report: ParityReport) -> None:
        """Add a report."""
        self.reports.append(report)
        self.entries.append(report.to_dict())
        self.status = max(self.status, 0 if report.passed else 1)

    @contextmanager
    def recording(self, spec: str) -> Generator[None]:
        """Record an error of a spec's comparison, so that the other specs are still compared."""
        from resnet_spec.errors import ResnetSpecError

        try:
            yield
        except ResnetSpecError as error:
            message = as_options(str(error))
            self.errors[spec] = message
            self.entries.append({"spec": spec, "passed": None, "error": message})
            self.status = max(self.status, error.exit_status)


def _loaded(
    specs: Sequence[str], overrides: Overrides | None, size: tuple[int, ...] | None, weights: str | None
) -> dict[str, Spec]:
    """Return the specs by name; raises SpecError with the problems of all specs."""
    from resnet_spec.errors import GraphError, SpecError
    from resnet_spec.parity.compare import loaded_spec
    from resnet_spec.weights.download import resolve

    problems: list[Problem] = []
    loaded: dict[str, Spec] = {}
    for spec in specs:
        try:
            loaded[spec] = loaded_spec(spec, overrides, extent_for(spec, overrides, size))
            loaded[spec].to_graph()
        except (SpecError, GraphError) as error:
            problems += error.problems
            continue
        if weights:
            # A download shows its own progress bar.
            resolve(loaded[spec], weights)
    if problems:
        raise SpecError(problems)
    return loaded


def _compare(
    specs: Mapping[str, Spec],
    backends: Sequence[str],
    replicas: int | None,
    results: _Results,
    options: Mapping[str, Any],
) -> None:
    """Compare the specs one by one."""
    from resnet_spec.errors import BackendError
    from resnet_spec.parity.compare import comparing

    if not specs:
        return
    with progress() as tell, ExitStack() as stack:
        try:
            comparison = stack.enter_context(comparing(backends, tell, replicas))
        except BackendError as error:
            # No spec can be compared without a backend.
            for spec in specs:
                with results.recording(spec):
                    raise BackendError(error.problems) from None
            return
        for spec, loaded in specs.items():
            with results.recording(spec):
                results.add(comparison.run(loaded, **options))


def _against(
    trace: Path | None, backend: str | None, specs: tuple[str, ...], overrides: tuple[str, ...], *, bisect: bool
) -> ParityReport:
    """Compare with a trace, which determines all other options."""
    from resnet_spec.parity.trace import compare_with_trace

    if trace is None or backend is None:
        raise click.UsageError("--against TRACE and --backend NAME go together")
    given = _given(
        "backends",
        "revision",
        "weights",
        "seed",
        "size",
        "batch",
        "training_steps",
        "replicas",
        "optimize",
        "quantization",
    )
    if given or len(specs) > 1:
        what = f"--{_WORDS.get(given[0], given[0])}" if given else "more than one spec"
        raise click.UsageError(f"--against cannot be combined with {what}: the trace determines what is compared")
    spec = specs[0] if specs else None
    with progress() as tell:
        return compare_with_trace(trace, backend, spec=spec, overrides=overrides, bisect=bisect, progress=tell)


def _is_trace(path: Path) -> bool:
    """Whether a path is that of a trace rather than of a model."""
    return path.suffix == ".safetensors"


def _against_model(
    model: Path,
    backend: str | None,
    backends: str,
    specs: tuple[str, ...],
    overrides: tuple[str, ...],
    extent: tuple[int, ...] | None,
    options: Mapping[str, Any],
) -> ParityReport:
    """Compare a spec with a model of another library."""
    from resnet_spec.parity.model import compare_with_model

    if len(specs) != 1:
        raise click.UsageError("--against MODEL takes one SPEC, which the model is compared with")
    given = _given("backends", "revision", "training_steps", "replicas", "optimize", "quantization")
    if backend is not None and "backends" in given:
        raise click.UsageError("give --backend or --backends, not both")
    if others := [name for name in given if name != "backends"]:
        raise click.UsageError(f"--against MODEL cannot be combined with --{_WORDS.get(others[0], others[0])}")
    names = [backend] if backend is not None else [name for name in backends.split(",") if name]
    size = extent_for(specs[0], overrides, extent)
    with progress() as tell:
        return compare_with_model(specs[0], str(model), names, overrides=overrides, size=size, progress=tell, **options)


_WORDS = {"revision": "changed-since", "training_steps": "training"}
"""Options whose parameters have another name."""


def _given(*names: str) -> list[str]:
    """Return which parameters the user has given."""
    context = click.get_current_context()
    return [name for name in names if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]


def _write(results: _Results, junit: Path | None, html: Path | None) -> None:
    from resnet_spec.weights.atomic import replacing

    if junit is not None:
        from resnet_spec.parity.render.junit import junit_xml

        with replacing(junit, report="XML") as temporary:
            temporary.write_text(junit_xml(results.reports, results.errors), "utf-8")
    if html is not None:
        from resnet_spec.parity.render.html import html_page

        with replacing(html, report="HTML") as temporary:
            temporary.write_text(html_page(results.reports, results.errors), "utf-8")


def _print(reports: Sequence[ParityReport]) -> None:
    from resnet_spec.parity.render.tables import parts

    screen = console()
    for part in parts(reports):
        screen.print(part, highlight=False)


def parse_extent(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes in an option; one number is (number,), which may mean all sides of an image."""
    if text is None:
        return None
    try:
        extent = tuple(map(int, text.split("x")))
    except ValueError:
        extent = (0,)
    if min(extent) < 1 or max(extent) > 2**16 or len(extent) > MAX_RANK:
        raise click.UsageError(
            f"--size takes a height, or a height and a width such as 224x160 (16x112x112 of volumes), not {text!r}"
        )
    return extent


def extent_for(spec: str, overrides: Overrides | None, extent: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the sizes for a spec: one number is the length of signals, or all sides of images and volumes."""
    from resnet_spec.spec.loader import load

    if extent is None or len(extent) > 1:
        return extent
    return extent * len(load(spec, overrides).input.positions or ("",))


@click.command()
@SPEC
@backend_option("torch, tensorflow (or tf), jax, or a third party's.", required=True)
@click.option("-o", "--output", required=True, metavar="PATH", type=Path, help="The trace, a .safetensors file.")
@_WEIGHTS
@SET
@SEED
@_SIZE
@_BATCH
@click.option("--nodes", is_flag=True, help="Also record every node's value, for --bisect.")
@click.option("--force", is_flag=True, help="Replace an existing trace.")
def record(
    spec: str,
    backend: str,
    output: Path,
    weights: str | None,
    overrides: tuple[str, ...],
    seed: int,
    size: str | None,
    batch: int,
    nodes: bool,
    force: bool,
) -> None:
    """Run one backend and record its results, for a comparison on another machine (parity --against)."""
    from resnet_spec.parity.trace import record as record_trace

    with progress() as tell:
        trace = record_trace(
            spec,
            backend,
            output,
            weights=weights,
            overrides=overrides,
            seed=seed,
            size=extent_for(spec, overrides, parse_extent(size)),
            batch=batch,
            nodes=nodes,
            force=force,
            progress=tell,
        )
    kept = f"{len(trace.nodes)} nodes" if trace.nodes else "logits"
    click.echo(f"{output}: {kept} of {trace.graph.name} in {trace.source}, fingerprint {trace.graph.fingerprint[:12]}")
