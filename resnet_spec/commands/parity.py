"""``resnet-spec parity`` and ``resnet-spec record``: compare backends, here or by way of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnet_spec.commands.common import JSON, SEED, SET, console, print_json, progress

if TYPE_CHECKING:
    from resnet_spec.comparison import ParityReport

_SIZE = click.option("--size", metavar="H[xW]", help="Height and width of the images, by default the spec's.")
_BATCH = click.option("--batch", default=2, show_default=True, type=click.IntRange(1, 1024), help="Images at once.")
_WEIGHTS = click.option("--weights", metavar="PATH", help="Compare under these weights instead of random ones.")


@click.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--backends", default="torch,tensorflow", show_default=True, help="The first is the reference.")
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
    from resnet_spec.downloads import resolve
    from resnet_spec.loading import load
    from resnet_spec.parity import at_size, comparing

    extent = _extent(size)
    if against is not None or backend is not None:
        reports = [_against(against, backend, specs, overrides, bisect=bisect)]
        _tell(reports, junit, html, as_json=as_json)
        return
    if not specs:
        raise click.UsageError("name a spec")
    # Wrong input is told before seconds go into starting frameworks.
    for spec in specs:
        loaded = load(spec, at_size(overrides, extent))
        loaded.to_graph()
        if weights:
            # A download has a bar of its own.
            resolve(loaded, weights)
    names = [name for name in backends.split(",") if name]
    with progress() as tell, comparing(names, tell) as comparison:
        reports = [
            comparison.run(
                spec,
                weights=weights,
                seed=seed,
                overrides=overrides,
                size=extent,
                batch=batch,
                bisect=bisect,
                training_steps=training_steps,
            )
            for spec in specs
        ]
    _tell(reports, junit, html, as_json=as_json)


def _against(
    trace: Path | None, backend: str | None, specs: tuple[str, ...], overrides: tuple[str, ...], *, bisect: bool
) -> ParityReport:
    """Compare with a trace, which fixes whatever else could be asked for."""
    from resnet_spec.traces import compare_with_trace

    if trace is None or backend is None:
        raise click.UsageError("--against TRACE and --backend NAME go together")
    context = click.get_current_context()
    fixed = ("backends", "weights", "seed", "size", "batch", "training_steps")
    given = [name for name in fixed if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given or len(specs) > 1:
        what = f"--{given[0].replace('training_steps', 'training')}" if given else "more than one spec"
        raise click.UsageError(f"--against compares what the trace holds, and takes no {what}")
    spec = specs[0] if specs else None
    with progress() as tell:
        return compare_with_trace(trace, backend, spec=spec, overrides=overrides, bisect=bisect, progress=tell)


def _tell(reports: list[ParityReport], junit: Path | None, html: Path | None, *, as_json: bool) -> None:
    """Reports where they were asked for; status 1 where one is of a difference."""
    from resnet_spec.files import replacing

    if junit is not None:
        from resnet_spec.reporting.junit import junit_xml

        with replacing(junit, force=True) as temporary:
            temporary.write_text(junit_xml(reports), "utf-8")
    if html is not None:
        from resnet_spec.reporting.html import html_page

        with replacing(html, force=True) as temporary:
            temporary.write_text(html_page(reports), "utf-8")
    if as_json:
        print_json([report.to_dict() for report in reports])
    else:
        _print(reports)
    if not all(report.passed for report in reports):
        click.get_current_context().exit(1)


def _print(reports: list[ParityReport]) -> None:
    from resnet_spec.reporting.tables import differences_table, finding_lines, nodes_table

    screen = console()
    screen.print(differences_table(reports))
    for report in reports:
        if report.nodes:
            passed = sum(node.passed for node in report.nodes)
            screen.print(f"\n[b]{report.spec}[/b]: {passed} of {len(report.nodes)} nodes within their bounds")
            screen.print(nodes_table(report.nodes))
        for finding in report.findings:
            screen.print("\n".join(finding_lines(finding)), highlight=False, markup=False)


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
    from resnet_spec.traces import record as record_trace

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
