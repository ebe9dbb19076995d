"""``resnet-spec``: look at specs, check them, and compare backends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import click

from resnet_spec import __version__
from resnet_spec.commands.common import JSON, SEED, SET, console, count, print_json, progress, run, shape_text
from resnet_spec.commands.predict import predict
from resnet_spec.commands.weights import convert, identify

if TYPE_CHECKING:
    from resnet_spec.graph import Graph
    from resnet_spec.parity import ParityReport
    from resnet_spec.summary import Summary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resnet-spec")
def command() -> None:
    """ResNets as data: list, show, validate and summarise specs, and prove that two backends agree on them.

    A SPEC is a shipped name, such as resnet50 or keras/resnet50, or a path that ends in .yaml or .yml.
    """


@command.command("list")
@JSON
def list_specs(as_json: bool) -> None:
    """List the shipped specs; piped, their names alone."""
    from resnet_spec.loading import headings

    rows = headings()
    if as_json:
        print_json([{"name": name, **heading} for name, heading in rows.items()])
    elif not sys.stdout.isatty():
        click.echo("\n".join(rows))
    else:
        from rich.table import Table

        table = Table(box=None)
        table.add_column("name", no_wrap=True)
        table.add_column("parameters", justify="right", no_wrap=True)
        table.add_column("description")
        for name, heading in rows.items():
            parameters = heading["parameters"]
            table.add_row(name, f"{parameters:,}" if parameters else "", heading["description"])
        console().print(table)


@command.command()
@click.argument("spec")
@SET
@click.option("--resolved", is_flag=True, help="The spec after extends and overrides, with the blocks it uses.")
@click.option("--graph", "as_graph", is_flag=True, help="The nodes it is lowered to.")
@JSON
def show(spec: str, overrides: tuple[str, ...], resolved: bool, as_graph: bool, as_json: bool) -> None:
    """Print a spec as its file has it, or what becomes of it."""
    from resnet_spec.loading import load, source_text

    if as_graph:
        graph = load(spec, overrides).to_graph()
        if as_json:
            click.echo(graph.to_json(indent=2))
        else:
            _print_graph(graph)
    elif as_json:
        print_json(load(spec, overrides).data())
    elif resolved or overrides:
        click.echo(load(spec, overrides).to_yaml(), nl=False)
    else:
        click.echo(source_text(spec), nl=False)


def _print_graph(graph: Graph) -> None:
    from rich.table import Table

    table = Table(box=None)
    for heading in ("node", "operation", "output", "inputs"):
        table.add_column(heading, no_wrap=heading != "operation")
    for node in graph.nodes:
        fields = node.operation.model_dump(exclude={"op"}, exclude_defaults=True)
        text = ", ".join(f"{key}={_field(value)}" for key, value in fields.items())
        call = f" (calls {node.calls})" if node.calls else ""
        table.add_row(node.name, f"{node.operation.op}({text}){call}", shape_text(node.shape), ", ".join(node.inputs))
    console().print(table)
    click.echo(f"fingerprint {graph.fingerprint}")


def _field(value: Any) -> str:
    """A field as a spec would have it: equal pairs are one number."""
    if isinstance(value, tuple):
        parts = {_field(item) for item in cast("tuple[Any, ...]", value)}
        return parts.pop() if len(parts) == 1 else str(cast("tuple[Any, ...]", value))
    return str(value)


@command.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--all", "every", is_flag=True, help="Every shipped spec.")
@SET
def validate(specs: tuple[str, ...], every: bool, overrides: tuple[str, ...]) -> None:
    """Check specs and the graphs they lower to; every mistake is told with its file, line and column."""
    from resnet_spec.catalogue import available
    from resnet_spec.errors import ResnetSpecError
    from resnet_spec.loading import load

    names = [*specs, *(available() if every else ())]
    if not names:
        raise click.UsageError("name a spec, or --all")
    failed = False
    for name in names:
        try:
            load(name, overrides).to_graph()
        except ResnetSpecError as error:
            failed = True
            click.echo(str(error), err=True)
        else:
            click.echo(f"{name}: valid")
    if failed:
        click.get_current_context().exit(2)


@command.command()
@click.argument("spec")
@SET
@click.option("--modules", is_flag=True, help="One row for each top-level module.")
@JSON
def summary(spec: str, overrides: tuple[str, ...], modules: bool, as_json: bool) -> None:
    """Count a network's layers, parameters, multiply-accumulates and activation sizes; no framework is needed."""
    from resnet_spec.loading import load
    from resnet_spec.summary import summarize

    result = summarize(load(spec, overrides).to_graph())
    if as_json:
        from dataclasses import asdict

        sizes = ("input_mib", "forward_backward_mib", "parameters_mib", "total_mib")
        print_json(asdict(result) | {size: getattr(result, size) for size in sizes})
    else:
        _print_summary(result, modules=modules)


def _print_summary(summary: Summary, *, modules: bool) -> None:
    from rich.table import Table

    from resnet_spec.summary import Row

    table = Table(box=None)
    table.add_column("module" if modules else "layer", no_wrap=True)
    if not modules:
        table.add_column("type", no_wrap=True)
        table.add_column("output", no_wrap=True)
    for heading in ("parameters", "statistics", "in all", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.modules if modules else summary.rows:
        layer = [row.label, shape_text(row.shape)] if isinstance(row, Row) else []
        macs = count(row.macs) if row.macs else "0"
        counts = (row.parameters, row.statistics, row.parameters + row.statistics)
        table.add_row(row.name, *layer, *(f"{number:,}" for number in counts), macs)
    screen = console()
    screen.print(table)
    if summary.outputs:
        screen.print("\n[b]outputs[/b]", _outputs_table(summary), sep="\n")
    everything = summary.parameters + summary.statistics
    screen.print(
        f"\n[b]{summary.name}[/b]  {summary.parameters:,} parameters trainable"
        f" ({everything:,} in all, {summary.statistics:,} running statistics not), {count(summary.macs)} MACs"
        f"\ninput {summary.input_mib:.2f} MB, forward/backward {summary.forward_backward_mib:.2f} MB,"
        f" parameters {summary.parameters_mib:.2f} MB, {summary.total_mib:.2f} MB in all",
        highlight=False,
    )


def _outputs_table(summary: Summary) -> Any:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("stride", justify="right", no_wrap=True)
    for tap in summary.outputs:
        strides = [str(stride) for stride in tap.stride or ()]
        table.add_row(tap.name, shape_text(tap.shape), "×".join(strides[:1] if len(set(strides)) == 1 else strides))
    return table


@command.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--backends", default="torch,tensorflow", show_default=True, help="The first is the reference.")
@click.option("--weights", metavar="PATH", help="Compare under these weights instead of random ones.")
@SET
@SEED
@click.option("--size", metavar="H[xW]", help="Height and width of the images, by default the spec's.")
@click.option("--batch", default=2, show_default=True, type=click.IntRange(1, 1024))
@JSON
def parity(
    specs: tuple[str, ...],
    backends: str,
    weights: str | None,
    overrides: tuple[str, ...],
    seed: int,
    size: str | None,
    batch: int,
    as_json: bool,
) -> None:
    """Give two backends the same weights and images and compare their logits; status 1 if they differ."""
    from resnet_spec.downloads import resolve
    from resnet_spec.loading import load
    from resnet_spec.parity import at_size, comparing

    extent = _size(size)
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
            comparison.run(spec, weights=weights, seed=seed, overrides=overrides, size=extent, batch=batch)
            for spec in specs
        ]
    if as_json:
        print_json([report.to_dict() for report in reports])
    else:
        _print_reports(reports)
    if not all(report.passed for report in reports):
        click.get_current_context().exit(1)


def _size(text: str | None) -> tuple[int, int] | None:
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


def _print_reports(reports: list[ParityReport]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for heading in ("spec", "input", "dtype", "backend", "against"):
        table.add_column(heading, no_wrap=True)
    for heading in ("max |Δ|", "max |Δ| / std", "gate"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in reports:
        images = "×".join(map(str, (report.batch, *report.size)))
        for d in report.differences:
            verdict = "[green]agrees[/green]" if d.passed else "[bold red]DIFFERS[/bold red]"
            figures = (f"{d.largest:.1e}", f"{d.relative:.1e}", f"{d.gate:.0e}")
            table.add_row(report.spec, images, d.dtype, d.backend, d.reference, *figures, verdict)
    console().print(table)


@command.command()
@click.option("--block", is_flag=True, help="The schema of a block's own file.")
def schema(block: bool) -> None:
    """Print the JSON Schema of the language, with which an editor completes and checks specs."""
    from resnet_spec.schema import block_schema, spec_schema

    print_json(block_schema() if block else spec_schema())


command.add_command(convert)
command.add_command(identify)
command.add_command(predict)


def main() -> None:
    """The entry point of ``resnet-spec``."""
    run(command)
