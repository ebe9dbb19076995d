"""``resnet-spec evaluate``: the accuracy on a folder of images, and where backends and models differ."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli import completion
from resnet_spec.cli.common import (
    JSON,
    LINE,
    READING,
    SET,
    SPEC,
    as_options,
    print_json,
    progress,
    quiet_stdout,
    tell_remarks,
    weights_option,
)
from resnet_spec.cli.predict import parsed_preprocessing, without_weights
from resnet_spec.cli.tables import Column, print_table, shows_styles
from resnet_spec.errors import MissingLibraryError, one_line, printable
from resnet_spec.errors.extras import require

if TYPE_CHECKING:
    from resnet_spec.evaluating.report import EvaluationReport

SHOWN = 10
"""The most images that are listed of each backend or model."""


@click.command()
@SPEC
@click.option("--images", "folder", metavar="DIR", required=True, help="A folder with a folder for each class.")
@weights_option("A file, or one of the spec's published weights.")
@click.option(
    "--backend", "--backends", "backends", metavar="NAME|FILE,...", shell_complete=completion.backends,
    help="Backends, and models such as model.onnx; the first is the reference.  [default: torch, if installed]",
)  # fmt: skip
@click.option("--labels", metavar="FILE", help="Names of the classes, one a line.  [default: ImageNet's, if 1000]")
@click.option(
    "--preprocessing", metavar="NAME|YAML",
    help="That of other published weights of the spec, or in full: '{resize: 256, crop: 224, mean: ..., std: ...}'.",
)  # fmt: skip
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1, 4096), help="Images computed at a time.")
@click.option(
    "--workers", type=click.IntRange(1, 256),
    help="Processes that read images.  [default: one a processor, up to 8]",
)  # fmt: skip
@click.option(
    "--state", metavar="FILE", type=Path,
    help="Where results are recorded, to continue after an interruption.  [default: beside --html, or a cache]",
)  # fmt: skip
@click.option("--html", metavar="PATH", type=Path, help="Write a self-contained HTML page with the images that differ.")
@SET
@READING
@JSON
def evaluate(
    spec: str,
    folder: str,
    weights: str | None,
    backends: str | None,
    labels: str | None,
    preprocessing: str | None,
    batch: int,
    workers: int | None,
    state: Path | None,
    html: Path | None,
    overrides: tuple[str, ...],
    reading: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure the accuracy on the images of a folder; status 1 if backends differ.

    Images that cannot be read are listed, and the status is then 1 too. Where another class is the likeliest only
    because of rounding, backends do not differ. Run the same command again to continue after Ctrl-C.
    """
    from resnet_spec.evaluating import evaluation, runners
    from resnet_spec.spec.loader import load
    from resnet_spec.vision.prediction import read_labels
    from resnet_spec.weights.atomic import check_target, replacing
    from resnet_spec.weights.download import resolve

    names = None if backends is None else [name for name in backends.split(",") if name]
    if weights is None and not (names and all(map(runners.is_file, names))):
        raise click.UsageError(without_weights(spec, overrides))
    if html is not None:
        check_target(html, report="HTML")
        require("reports", "an HTML page", "jinja2")
    with tell_remarks():
        loaded = load(spec, overrides)
        if weights is not None:
            # A download shows its own progress bar; evaluate() then uses the cache.
            resolve(loaded, weights)
    # Elsewhere than in a terminal, lines of progress would be hundreds.
    shown = progress() if sys.stderr.isatty() else nullcontext(_quietly)
    with quiet_stdout(), tell_remarks(), shown as tell:
        report = evaluation.evaluate(
            loaded,
            folder,
            weights,
            names,
            labels=None if labels is None else read_labels(labels),
            preprocessing=parsed_preprocessing(preprocessing),
            batch=batch,
            workers=workers,
            state=state or _state(html, spec, folder, weights, backends),
            progress=tell,
            **reading,
        )
    if html is not None:
        from resnet_spec.evaluating.page import html_page

        with replacing(html, report="HTML") as temporary:
            temporary.write_text(html_page(report), "utf-8")
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    for image, why in [*report.unreadable.items()][:SHOWN]:
        click.echo(one_line(f"{image}: {why}"), err=True)
    if len(report.unreadable) > SHOWN:
        click.echo(f"… and {len(report.unreadable) - SHOWN:,} more", err=True)
    if not report.passed:
        click.get_current_context().exit(1)


def _quietly(_step: str) -> None:
    pass


def _state(html: Path | None, *command: str | None) -> Path | None:
    """The file in which results are recorded: beside the page, or in the cache by what the command evaluates.

    There is no cache without the libraries of downloads, or if it cannot be written.
    """
    if html is not None:
        return html.with_name(f"{html.name}.state")
    from resnet_spec.weights.cache import cache_folder

    try:
        folder = cache_folder() / "evaluations"
        folder.mkdir(parents=True, exist_ok=True)
    except (MissingLibraryError, OSError):
        return None
    name = hashlib.sha256("\0".join([str(Path.cwd()), *map(str, command)]).encode("utf-8", "surrogateescape"))
    return folder / f"{name.hexdigest()[:32]}.state"


def _print(report: EvaluationReport) -> None:
    from resnet_spec.evaluating import words

    title = click.style(report.spec, bold=True) if shows_styles() else report.spec
    click.echo(f"{title}  {words.heading(report)}\n")
    print_table(*_table(report))
    for name in report.names[1:]:
        differing = report.results[name].differing
        click.echo()
        _wrapped(words.agreement(report, name))
        if differing:
            click.echo()
            print_table(*_differing(report, name))
        if len(differing) > SHOWN:
            click.echo(f"and {len(differing) - SHOWN:,} more, which --json and --html list")
    for place, note in enumerate(words.notes(report)):
        click.echo("" if place else "\n", nl=False)
        _wrapped(as_options(note))


def _wrapped(text: str, indent: str = "") -> None:
    lines = wrap(printable(text), LINE, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
    click.echo("\n".join(lines))


def _differing(report: EvaluationReport, name: str) -> tuple[list[Column], list[list[str]]]:
    """The first images that differ, with the class that each has in both."""
    differing = report.results[name].differing[:SHOWN]
    columns = [Column("image", least=16), Column("class", least=6, cut="end", rank=1)]
    for heading in (report.names[0], name):
        columns += [Column(heading, least=8, cut="end"), Column("%", "right")]
    columns += [Column("")] if any(image.is_tie for image in differing) else []
    rows: list[list[str]] = []
    for image in differing:
        cells = [
            image.image,
            image.label,
            *(text for label, share in image.top for text in (label, f"{share:.2%}"[:-1])),
        ]
        rows.append([one_line(cell) for cell in cells] + ["rounding"] * image.is_tie)
        rows[-1] += [""] * (len(columns) - len(rows[-1]))
    return columns, rows


def _table(report: EvaluationReport) -> tuple[list[Column], list[list[str]]]:
    from resnet_spec.evaluating import words

    published = words.published(report)
    columns = [Column("", least=12), Column("top-1 %", "right"), Column("95 % interval", rank=1)]
    columns += [Column("published", "right")] if published[0] else []
    columns += [Column("top-5 %", "right"), Column("95 % interval", rank=2)] if len(report.labels) > 5 else []
    columns += [Column("published", "right")] if published[1] and len(report.labels) > 5 else []

    def cells(name: str) -> Iterator[str]:
        yield name
        yield from words.accuracy(report.results[name].top1)
        if published[0]:
            yield published[0]
        if len(report.labels) > 5:
            yield from words.accuracy(report.results[name].top5)
            if published[1]:
                yield published[1]

    return columns, [[*cells(name)] for name in report.names]
