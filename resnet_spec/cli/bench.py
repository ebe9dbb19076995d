"""``resnet-spec bench``: the times of a network in every runtime, beside the agreement of the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from resnet_spec.cli.common import (
    JSON,
    LINE,
    SEED,
    SET,
    SPECS,
    as_options,
    print_json,
    progress,
    tell_remarks,
    weights_option,
)
from resnet_spec.cli.parity import extent_for, parse_extent
from resnet_spec.cli.tables import Column, print_table, shows_styles
from resnet_spec.errors import ResnetSpecError
from resnet_spec.errors.extras import require

if TYPE_CHECKING:
    from resnet_spec.benchmarking.report import BenchmarkReport

_COLUMNS = (
    Column("runtime", least=17),
    Column("ms", "right"),
    Column("p95", "right", rank=4),
    Column("img/s", "right", rank=1),
    Column("ratio", "right"),
    Column("95 % interval", rank=5),
    Column("|Δ|", "right"),
)
_COSTS = (
    Column("load s", "right", rank=2),
    Column("MiB", "right", rank=2),
    Column("file MiB", "right", rank=3),
)
"""What does not depend on the batch, beside the figures of the first one."""


def _numbers(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and 0 < int(part) <= 1024 for part in parts):
        raise click.UsageError(f"--batches takes numbers of images from 1 to 1024, such as 1,8, not {text!r}")
    return tuple(dict.fromkeys(map(int, parts)))


@click.command()
@SPECS
@click.option("--runtimes", metavar="NAME,...", help="Ratios refer to the first.  [default: all that are installed]")
@click.option("--batches", default="1", show_default=True, metavar="N,...", callback=_numbers, help="Images of a run.")
@click.option("--size", metavar="H[xW]", help="The input's size.  [default: the spec's]")
@weights_option("Time under these weights instead of random ones.")
@click.option("--quantization", metavar="FILE", help="Also time runtimes of the 8-bit form, as 'quantize' wrote it.")
@click.option("--reference", metavar="BACKEND", help="The backend whose float64 logits the results are compared with.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of each runtime.  [default: all processors]")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(3, 10000), help="Rounds to time.")
@click.option(
    "--seconds", default=0.1, show_default=True, type=click.FloatRange(0, 60), help="Time of a runtime in a round."
)
@SET
@SEED
@click.option("--html", metavar="PATH", type=Path, help="Write a self-contained HTML page with a picture.")
@JSON
def bench(
    specs: tuple[str, ...],
    runtimes: str | None,
    batches: tuple[int, ...],
    size: str | None,
    weights: str | None,
    quantization: str | None,
    reference: str | None,
    threads: int | None,
    rounds: int,
    seconds: float,
    overrides: tuple[str, ...],
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Time SPEC in the runtimes that are installed; status 1 if one computes something else.

    Each runtime loads its own file in a process of its own. They run in turns, in random order, with the same threads.
    A time is shown only where the logits agree with the reference, and where the machine was quiet enough for it.
    """
    from resnet_spec.benchmarking.benchmark import benchmark
    from resnet_spec.weights.atomic import check_target, replacing

    extent = parse_extent(size)
    if not specs:
        raise click.UsageError("name a spec")
    if html is not None:
        check_target(html, report="HTML")
        require("reports", "an HTML page", "jinja2")
    reports: list[BenchmarkReport] = []
    errors: dict[str, ResnetSpecError] = {}
    with tell_remarks(), progress() as tell:
        for spec in specs:
            try:
                report = benchmark(
                    spec,
                    [name for name in (runtimes or "").split(",") if name],
                    batches=batches,
                    reference=reference,
                    weights=weights,
                    quantization=quantization,
                    overrides=overrides,
                    size=extent_for(spec, overrides, extent),
                    threads=threads,
                    rounds=rounds,
                    seconds=seconds,
                    seed=seed,
                    progress=tell,
                )
            # The other specs are still timed.
            except ResnetSpecError as error:
                errors[spec] = error
            else:
                reports.append(report)
    if html is not None:
        from resnet_spec.benchmarking.page import html_page

        with replacing(html, report="HTML") as temporary:
            temporary.write_text(html_page(reports), "utf-8")
    if as_json:
        failed = [{"spec": spec, "passed": None, "error": as_options(str(error))} for spec, error in errors.items()]
        print_json([*(report.to_dict() for report in reports), *failed])
    elif reports:
        _print(reports)
    for spec, error in errors.items():
        click.echo(as_options(f"{spec}: {error}" if len(specs) > 1 else str(error)), err=True)
    differs = not all(report.passed for report in reports)
    if status := max([int(differs), *(error.exit_status for error in errors.values())]):
        click.get_current_context().exit(status)


def _print(reports: Sequence[BenchmarkReport]) -> None:
    from resnet_spec.benchmarking.words import heading, notes

    for report in reports:
        title = click.style(report.spec, bold=True) if shows_styles() else report.spec
        for number, batch in enumerate(report.batches):
            click.echo(f"{title}  {heading(report, batch)}")
            columns = (*_COLUMNS[:-1], *_COSTS, _COLUMNS[-1]) if number == 0 else _COLUMNS
            print_table(columns, [*_rows(report, batch, costs=number == 0)])
            click.echo()
        for note in notes(report):
            click.echo("\n".join(wrap(as_options(note), LINE, subsequent_indent="  ", break_on_hyphens=False)))
    machine = reports[0].machine
    click.echo("\n".join(wrap(", ".join(f"{name} {value}" for name, value in machine.items()), LINE)))


def _rows(report: BenchmarkReport, batch: int, *, costs: bool) -> Iterator[list[str]]:
    from resnet_spec.benchmarking.words import agreement, figures, mebibytes

    for runtime in report.runtimes:
        own = [f"{runtime.load_seconds:.1f}", mebibytes(runtime.memory), mebibytes(runtime.size)] if costs else []
        for timing in (timing for timing in runtime.timings if timing.batch == batch):
            yield [runtime.name, *figures(timing).values(), *own, agreement(timing)]
