"""``resnet-spec import``: write a spec for a model of another library, and compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli import completion
from resnet_spec.cli.common import JSON, console, muted_stderr, print_json, progress, quiet_stdout, shape_argument
from resnet_spec.spec.catalog import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnet_spec.importing import ImportedModel
    from resnet_spec.parity.report import ParityReport


@click.command("import")
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", metavar="PATH", type=Path, help="Write the spec here instead of printing it.")
@click.option(
    "--weights", metavar="PATH", type=Path, help="Write the weights by the spec's names (.safetensors, .npz)."
)
@click.option("--input", "shape", metavar="CxHxW", help="The shape of the input, for a model that does not state it.")
@click.option("--flat", is_flag=True, help="Write one chain of layers instead of stages and blocks.")
@click.option(
    "--backends",
    metavar="NAMES",
    shell_complete=completion.backends,
    help="The backends to compare with.  [default: all that are installed]",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@JSON
def import_command(
    model: str,
    output: Path | None,
    weights: Path | None,
    shape: str | None,
    flat: bool,
    backends: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a spec for MODEL, and run both to compare them.

    MODEL is a file (.onnx, .pt2, .keras, .h5, .pb), a SavedModel folder, or package.module:function for a function
    that returns a PyTorch or Keras model. The exit status is 1, and nothing is written, if the spec computes something
    else than MODEL.
    """
    from resnet_spec.importing import import_model
    from resnet_spec.weights.atomic import check_target, replacing
    from resnet_spec.weights.io import write_weights

    size = shape_argument(shape)
    if output is not None and output.suffix not in ENDINGS:
        raise click.UsageError(f"{output}: a spec's path ends in {' or '.join(ENDINGS)}")
    for path in (output, weights):
        if path is not None:
            check_target(path, force=force)
    with quiet_stdout(), progress() as tell, muted_stderr():
        imported = import_model(model, input=size, flat=flat, progress=tell)
        graph = imported.spec.to_graph()
        report = _compared(imported, backends, tell)
    if report.passed:
        if weights is not None:
            write_weights(weights, graph, imported.arrays)
        if output is not None:
            with replacing(output, force=force) as path:
                path.write_text(imported.text, encoding="utf-8")
    if as_json:
        print_json(_data(imported, report))
    elif output is None:
        click.echo(imported.text, nl=False)
    _tell(imported, report, [path for path in (output, weights) if path is not None], err=as_json or output is None)
    if not report.passed:
        click.get_current_context().exit(1)


def _compared(imported: ImportedModel, backends: str | None, tell: Any) -> ParityReport:
    from resnet_spec.backend.registry import backend_names
    from resnet_spec.parity.compare import compare_with_original

    # A framework first, whose float64 is what the others are compared with; JAX runs the same layers of Keras.
    installed = sorted({*backend_names()} - {"jax"}, key=lambda name: (name != "torch", name == "onnx", name))
    names = [name for name in (backends or "").split(",") if name] or installed
    return compare_with_original(imported.spec.to_graph(), imported.arrays, imported.source.run, names, progress=tell)


def _data(imported: ImportedModel, report: ParityReport) -> dict[str, Any]:
    return {"spec": imported.text, "remarks": imported.remarks, "parity": report.to_dict()}


def _tell(imported: ImportedModel, report: ParityReport, written: Sequence[Path], *, err: bool) -> None:
    """Print what was found, and the comparison."""
    from rich.console import Console

    from resnet_spec.parity.render.tables import parts

    screen = Console(stderr=True) if err else console()
    for part in parts([report]):
        screen.print(part)
    lines = len(imported.text.splitlines())
    kind = f"extends {imported.extends}" if imported.extends else f"{lines} lines"
    click.echo(f"the spec ({kind}) has the same layers as the model, connected alike", err=err)
    for remark in imported.remarks:
        click.echo(f"note: {remark}", err=err)
    if report.passed:
        for path in written:
            click.echo(f"wrote {path}", err=err)
    elif written:
        click.echo("nothing was written, since the results differ", err=True)
