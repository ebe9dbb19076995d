"""``resnet-spec``: show and validate specs, and compare backends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from resnet_spec import __version__
from resnet_spec.cli.common import CHANGED_SINCE, JSON, SET, changed_specs, console, count, print_json, run, shape_text
from resnet_spec.cli.diff import diff
from resnet_spec.cli.identify import identify
from resnet_spec.cli.importing import import_command
from resnet_spec.cli.parity import parity, record
from resnet_spec.cli.predict import predict
from resnet_spec.cli.weights import convert

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import Backend
    from resnet_spec.graph import Graph
    from resnet_spec.graph.summary import Summary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resnet-spec")
def command() -> None:
    """ResNets as data: list, show, validate and summarize specs, and prove that two backends agree on them.

    A SPEC is a shipped name, such as resnet50 or keras/resnet50, or a path that ends in .yaml or .yml.
    """


@command.command("list")
@JSON
def list_specs(as_json: bool) -> None:
    """List the shipped specs; piped, only their names."""
    from resnet_spec.spec.loader import headings

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
@click.option("--resolved", is_flag=True, help="Print the spec after extends and overrides, with the blocks it uses.")
@click.option("--graph", "as_graph", is_flag=True, help="Print the nodes that the spec is lowered to.")
@JSON
def show(spec: str, overrides: tuple[str, ...], resolved: bool, as_graph: bool, as_json: bool) -> None:
    """Print a spec's file, or the resolved spec."""
    from resnet_spec.spec.loader import load, source_text

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

    from resnet_spec.operations.ranked import Ranked

    table = Table(box=None)
    for heading in ("node", "operation", "output", "inputs"):
        table.add_column(heading, no_wrap=heading != "operation")
    for node in graph.nodes:
        fields = node.operation.model_dump(exclude={"op"}, exclude_defaults=True)
        kinds = {name: info.annotation for name, info in type(node.operation).model_fields.items()}
        # Lists of an operation over positions have one number for each axis.
        kinds = {} if isinstance(node.operation, Ranked) else kinds
        text = ", ".join(f"{key}={_field(value, kinds.get(key))}" for key, value in fields.items())
        call = f" (calls {node.calls})" if node.calls else ""
        table.add_row(node.name, f"{node.operation.op}({text}){call}", shape_text(node.shape), ", ".join(node.inputs))
    console().print(table)
    click.echo(f"fingerprint {graph.fingerprint}")


def _field(value: Any, kind: Any) -> str:
    """Return a field as a spec has it: a pair of equal numbers is one number, a shape is a list."""
    if not isinstance(value, tuple):
        return str(value)
    is_list = get_args(kind)[-1:] == (...,)
    parts = [_field(item, None) for item in cast("tuple[Any, ...]", value)]
    return parts[0] if len(set(parts)) == 1 and not is_list else f"[{', '.join(parts)}]"


@command.command()
@click.argument("specs", nargs=-1, metavar="SPEC...")
@click.option("--all", "every", is_flag=True, help="Check every shipped spec.")
@CHANGED_SINCE
@click.option("--dependents", is_flag=True, help="Also check the specs below this folder that use the named files.")
@click.option(
    "--backend", metavar="NAME", help="Also report layers that a backend, such as tensorflow, cannot express."
)
@SET
def validate(
    specs: tuple[str, ...],
    every: bool,
    revision: str | None,
    dependents: bool,
    backend: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Check specs and the graphs they lower to; every problem is reported with its file, line and column.

    A block's own file is checked as strictly as a spec that uses it, except for the sizes of its input.
    """
    from resnet_spec.backend.registry import get_backend
    from resnet_spec.errors import ResnetSpecError
    from resnet_spec.spec.catalog import available

    if revision is not None and (every or dependents):
        raise click.UsageError("--changed-since cannot be combined with --all or --dependents")
    names = changed_specs(revision, specs) if revision is not None else [*specs, *(available() if every else ())]
    if not names and revision is None:
        raise click.UsageError("name a spec, or --all")
    if dependents:
        from resnet_spec.spec.git_changes import affected_by

        names = list(dict.fromkeys([*names, *map(str, affected_by(map(Path, specs)))]))
    compiler = get_backend(backend) if backend is not None else None
    failed = False
    for name in names:
        try:
            verdict = _checked(name, overrides, compiler)
        except ResnetSpecError as error:
            failed = True
            click.echo(str(error), err=True)
        else:
            click.echo(f"{name}: {verdict}")
    if failed:
        click.get_current_context().exit(2)


def _checked(name: str, overrides: tuple[str, ...], compiler: Backend | None) -> str:
    """Return the verdict on a valid spec or block file; raises ResnetSpecError for others."""
    from resnet_spec.backend.support import unsupported
    from resnet_spec.errors import SpecError
    from resnet_spec.spec.catalog import ENDINGS
    from resnet_spec.spec.dependencies import check_kind, kind
    from resnet_spec.spec.loader import check_block, load

    if name.endswith(ENDINGS):
        check_kind(Path(name))
        if kind(Path(name)) == "block":
            check_block(Path(name))
            return "valid block"
    graph = load(name, overrides).to_graph()
    if compiler is None:
        return "valid"
    if problems := unsupported(graph, compiler):
        raise SpecError(problem._replace(path=f"{name}: {problem.path}") for problem in problems)
    return f"valid, also in {compiler.name}"


@command.command()
@click.argument("spec")
@SET
@click.option("--modules", is_flag=True, help="Print one row for each top-level module.")
@JSON
def summary(spec: str, overrides: tuple[str, ...], modules: bool, as_json: bool) -> None:
    """Count a network's layers, parameters, multiply-accumulates and activation sizes; no framework is needed."""
    from resnet_spec.graph.summary import summarize
    from resnet_spec.spec.loader import load

    result = summarize(load(spec, overrides).to_graph())
    if as_json:
        from dataclasses import asdict

        sizes = ("input_mib", "forward_backward_mib", "parameters_mib", "total_mib")
        print_json(asdict(result) | {size: getattr(result, size) for size in sizes})
    else:
        _print_summary(result, modules=modules)


def _print_summary(summary: Summary, *, modules: bool) -> None:
    from rich.table import Table

    from resnet_spec.graph.summary import Row

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
    # torchsummary writes MB where it divides by 2²⁰.
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
@click.option("--block", is_flag=True, help="Print the schema of a file of a block.")
def schema(block: bool) -> None:
    """Print the JSON Schema of the language, which editors use to complete and check specs."""
    from resnet_spec.spec.json_schema import block_schema, spec_schema

    print_json(block_schema() if block else spec_schema())


command.add_command(convert)
command.add_command(diff)
command.add_command(identify)
command.add_command(import_command)
command.add_command(parity)
command.add_command(predict)
command.add_command(record)


def main() -> None:
    """The entry point of ``resnet-spec``."""
    run(command)
