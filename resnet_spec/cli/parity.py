"""``resnet-spec parity`` and ``resnet-spec record``: compare backends, here or by way of a file."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli.common import CHANGED_SINCE, JSON, SEED, SET, changed_specs, console, print_json, progress

if TYPE_CHECKING:
    from resnet_spec.errors import Problem
    from resnet_spec.parity.report import ParityReport
    from resnet_spec.spec.loader import Overrides

_SIZE = click.option("--size", metavar="H[xW]", help="Height and width of the images, by default the spec's.")
_BATCH = click.option("--batch", default=2, show_default=True, type=click.IntRange(1, 1024), help="Images at once.")
_WEIGHTS = click.option("--weights", metavar="PATH", help="Compare under these weights instead of random ones.")


@click.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--backends", default="torch,tensorflow", show_default=True, help="The first is the reference.")
@CHANGED_SINCE
@click.option("--against", metavar="TRACE", type=Path, help="Compare with what 'record' kept, in one --backend.")
@click.option("--backend", metavar="NAME", help="The backend to compare with a trace.")
@_WEIGHTS
@SET
@SEED
@_SIZE
@_BATCH
@click.option("--bisect", is_flag=True, help="Compare every node, and look for the cause of what differs.")
@click.option(
    "--training", "training_steps", metavar="STEPS", type=click.IntRange(0, 1000),
    help="Compare gradients and statistics too, and so many steps of SGD and AdamW.",
)  # fmt: skip
@click.option("--junit", metavar="PATH", type=Path, help="Write JUnit XML, for a CI.")
@click.option("--html", metavar="PATH", type=Path, help="Write a page for people, which needs no network.")
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
    bisect: bool,
    training_steps: int | None,
    junit: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Give two backends the same weights and images and compare what they compute; status 1 if they differ."""
    from resnet_spec.parity.compare import at_size
    from resnet_spec.weights.atomic import check_target

    extent = _extent(size)
    for path in (junit, html):
        if path is not None:
            check_target(path, force=True)
    reports: list[ParityReport] = []
    if against is not None or backend is not None:
        with _telling_what_was_found(reports, specs or [str(against)], junit, html, as_json=as_json):
            reports.append(_against(against, backend, specs, overrides, bisect=bisect))
        _tell(reports, junit, html, as_json=as_json)
        return
    if revision is not None:
        specs = tuple(changed_specs(revision, specs))
    elif not specs:
        raise click.UsageError("name a spec")
    _check(specs, at_size(overrides, extent), weights)
    names = [name for name in backends.split(",") if name]
    with _telling_what_was_found(reports, specs, junit, html, as_json=as_json):
        for report in _compared(
            specs,
            names,
            weights=weights,
            seed=seed,
            overrides=overrides,
            size=extent,
            batch=batch,
            bisect=bisect,
            training_steps=training_steps,
        ):
            reports.append(report)  # noqa: PERF402 - what was there before a death stays
    _tell(reports, junit, html, as_json=as_json)


def _check(specs: Sequence[str], overrides: Overrides | None, weights: str | None) -> None:
    """Tell every mistake of every spec, before seconds go into starting frameworks."""
    from resnet_spec.errors import GraphError, SpecError
    from resnet_spec.spec.loader import load
    from resnet_spec.weights.download import resolve

    problems: list[Problem] = []
    for spec in specs:
        try:
            loaded = load(spec, overrides)
            loaded.to_graph()
        except (SpecError, GraphError) as error:
            problems += error.problems
            continue
        if weights:
            # A download has a bar of its own.
            resolve(loaded, weights)
    if problems:
        raise SpecError(problems)


def _compared(specs: Sequence[str], backends: Sequence[str], **options: Any) -> Generator[ParityReport]:
    """Report after report; no framework is started for no spec."""
    from resnet_spec.parity.compare import comparing

    if specs:
        with progress() as tell, comparing(backends, tell) as comparison:
            for spec in specs:
                yield comparison.run(spec, **options)


def _against(
    trace: Path | None, backend: str | None, specs: tuple[str, ...], overrides: tuple[str, ...], *, bisect: bool
) -> ParityReport:
    """Compare with a trace, which fixes whatever else could be asked for."""
    from resnet_spec.parity.trace import compare_with_trace

    if trace is None or backend is None:
        raise click.UsageError("--against TRACE and --backend NAME go together")
    context = click.get_current_context()
    fixed = ("backends", "revision", "weights", "seed", "size", "batch", "training_steps")
    given = [name for name in fixed if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given or len(specs) > 1:
        words = {"revision": "changed-since", "training_steps": "training"}
        what = f"--{words.get(given[0], given[0])}" if given else "more than one spec"
        raise click.UsageError(f"--against compares what the trace holds, and takes no {what}")
    spec = specs[0] if specs else None
    with progress() as tell:
        return compare_with_trace(trace, backend, spec=spec, overrides=overrides, bisect=bisect, progress=tell)


@contextmanager
def _telling_what_was_found(
    reports: Sequence[ParityReport], specs: Sequence[str], junit: Path | None, html: Path | None, *, as_json: bool
) -> Generator[None]:
    """Where a backend dies, what was found until then holds, and is told with what could not be compared."""
    from resnet_spec.errors import BackendError

    try:
        yield
    except BackendError as error:
        undone = dict.fromkeys(specs[len(reports) :], str(error))
        _write(reports, undone, junit, html)
        if as_json:
            done = [report.to_dict() for report in reports]
            print_json({"error": str(error), "undone": list(undone), "reports": done})
        else:
            _print(reports)
        raise


def _tell(reports: Sequence[ParityReport], junit: Path | None, html: Path | None, *, as_json: bool) -> None:
    """Reports where they were asked for; status 1 where one is of a difference."""
    _write(reports, {}, junit, html)
    if as_json:
        print_json([report.to_dict() for report in reports])
    else:
        _print(reports)
    if not all(report.passed for report in reports):
        click.get_current_context().exit(1)


def _write(reports: Sequence[ParityReport], undone: Mapping[str, str], junit: Path | None, html: Path | None) -> None:
    from resnet_spec.weights.atomic import replacing

    if junit is not None:
        from resnet_spec.parity.render.junit import junit_xml

        with replacing(junit, force=True) as temporary:
            temporary.write_text(junit_xml(reports, undone), "utf-8")
    if html is not None:
        from resnet_spec.parity.render.html import html_page

        with replacing(html, force=True) as temporary:
            temporary.write_text(html_page(reports, undone), "utf-8")


def _print(reports: Sequence[ParityReport]) -> None:
    from resnet_spec.parity.render.tables import parts

    screen = console()
    for part in parts(reports):
        screen.print(part, highlight=False)


def _extent(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, by, width = text.partition("x")
    try:
        extent = int(height), int(width if by else height)
    except ValueError:
        extent = (0, 0)
    if min(extent) < 1 or max(extent) > 2**16:
        raise click.UsageError(f"--size takes a height, or a height and a width such as 224x160, not {text!r}")
    return extent


@click.command()
@click.argument("spec")
@click.option("--backend", required=True, metavar="NAME", help="torch, tensorflow (or tf), or a third party's.")
@click.option("-o", "--output", required=True, metavar="PATH", type=Path, help="The trace, a .safetensors file.")
@_WEIGHTS
@SET
@SEED
@_SIZE
@_BATCH
@click.option("--nodes", is_flag=True, help="Keep every node's value too, for --bisect at the other end.")
@click.option("--force", is_flag=True, help="Replace a trace that exists already.")
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
    """Run one backend and keep what it computes, for a comparison on another machine (``parity --against``)."""
    from resnet_spec.parity.trace import record as record_trace

    with progress() as tell:
        trace = record_trace(
            spec,
            backend,
            output,
            weights=weights,
            overrides=overrides,
            seed=seed,
            size=_extent(size),
            batch=batch,
            nodes=nodes,
            force=force,
            progress=tell,
        )
    kept = f"{len(trace.nodes)} nodes" if trace.nodes else "logits"
    click.echo(f"{output}: {kept} of {trace.graph.name} in {trace.source}, fingerprint {trace.graph.fingerprint[:12]}")
