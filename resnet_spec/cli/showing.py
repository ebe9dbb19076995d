"""``resnet-spec list``, ``blocks``, ``show`` and ``summary``: what is shipped, and what a spec says."""

from __future__ import annotations

import fnmatch
import sys
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from resnet_spec.cli import completion
from resnet_spec.cli.common import JSON, LINE, SET, SPEC, count, print_json, shape_text, table_lines
from resnet_spec.cli.editor import with_installed_schema
from resnet_spec.cli.tables import Column, fitted_lines, print_table, shows_styles, terminal_width

if TYPE_CHECKING:
    from resnet_spec.graph import Graph, Node
    from resnet_spec.graph.summary import Summary
    from resnet_spec.quantization import Grid


_ORDERS = {"name": "name", "params": "parameters", "macs": "macs", "accuracy": "top1"}


@click.command("list")
@click.argument("pattern", default="*")
@click.option(
    "--family", metavar="NAME", shell_complete=completion.families, help="Only the specs of a family, such as timm."
)
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    default="name",
    show_default=True,
    help="By parameters or multiply-accumulates, the smallest first, or by published accuracy, the best first.",
)
@JSON
def list_specs(pattern: str, family: str | None, sort: str, as_json: bool) -> None:
    """List the shipped specs; piped, only their names.

    PATTERN is a part of a name, or has wildcards, with or without the family: resnext, *50d, timm/*50d. MACs are those
    of one input of the stated size, and top-1 is the best published accuracy on ImageNet.
    """
    from resnet_spec.errors import SpecError, suggest
    from resnet_spec.spec.catalog import Catalog
    from resnet_spec.spec.loader import headings

    rows = headings()
    families = dict.fromkeys(name.partition("/")[0] for name in rows)
    if family is not None and family not in families:
        raise SpecError(f"no family is named {family!r}{suggest(family, families)} (known: {', '.join(families)})")
    wanted = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{pattern.lower()}*"
    found = {
        name: row for name, row in rows.items()
        if any(fnmatch.fnmatchcase(text.lower(), wanted) for text in (name, name.rpartition("/")[2]))
        and family in (None, name.partition("/")[0])
    }  # fmt: skip
    if not found:
        raise SpecError(f"no shipped spec has a name like {pattern!r}{Catalog.shipped().suggestion(pattern)}")
    if sort != "name":
        sign = -1 if sort == "accuracy" else 1
        found = dict(sorted(found.items(), key=lambda item: sign * (item[1][_ORDERS[sort]] or sign * float("inf"))))
    if as_json:
        print_json([{"name": name, **row} for name, row in found.items()])
    elif not sys.stdout.isatty():
        click.echo("\n".join(found))
    else:
        columns = [
            Column("name", least=24),
            Column("parameters", "right"),
            Column("MACs", "right", rank=1),
            Column("input", "right", rank=2),
            Column("top-1", "right"),
            Column("description", least=36, cut="end", rank=3),
        ]
        print_table(columns, [(name, *_figures(row), row["description"]) for name, row in found.items()])


def _figures(row: dict[str, Any]) -> tuple[str, ...]:
    macs, top1 = row["macs"], row["top1"]
    size = "×".join(map(str, row["input"] or ()))
    return f"{row['parameters'] or 0:,}", count(macs) if macs else "", size, f"{top1:.2f}" if top1 else ""


@click.command()
@click.argument("name", required=False, shell_complete=completion.blocks)
def blocks(name: str | None) -> None:
    """List the shipped blocks, or print the file of the one that is named."""
    from resnet_spec.spec.catalog import Catalog
    from resnet_spec.spec.loader import block_descriptions

    if name is not None:
        click.echo(with_installed_schema(Catalog.shipped().find_block(name).read_text(encoding="utf-8")), nl=False)
    elif not sys.stdout.isatty():
        click.echo("\n".join(Catalog.shipped().blocks()))
    else:
        heading, *lines = table_lines([("block", "description"), *block_descriptions()], terminal_width() or LINE)
        click.echo("\n".join([click.style(heading, bold=shows_styles()), *lines]))


@click.command()
@click.argument("spec", shell_complete=completion.specs_and_blocks)
@SET
@click.option("--resolved", is_flag=True, help="Print the spec after extends and overrides, with the blocks it uses.")
@click.option("--graph", "as_graph", is_flag=True, help="Print the nodes that the spec is lowered to.")
@click.option("--quantization", metavar="FILE", help="Print what of it is 8-bit, as 'quantize' wrote it.")
@JSON
def show(
    spec: str, overrides: tuple[str, ...], resolved: bool, as_graph: bool, quantization: str | None, as_json: bool
) -> None:
    """Print a spec's file, or the resolved spec; or a shipped block's file."""
    from resnet_spec.spec.catalog import ENDINGS
    from resnet_spec.spec.loader import load, source_text

    if quantization is not None:
        _print_quantization(load(spec, overrides).to_graph(), quantization, as_json=as_json)
    elif as_graph:
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
        text = source_text(spec)
        click.echo(text if spec.endswith(ENDINGS) or spec == "-" else with_installed_schema(text), nl=False)


def _print_quantization(graph: Graph, path: str, *, as_json: bool) -> None:
    """Print the grid of each value of an optimized graph, and the scales of each kernel."""
    from resnet_spec.backend.optimizing import core_forms
    from resnet_spec.quantization import Quantization, check, grids_of

    chosen = Quantization.read(path)
    optimized = core_forms(graph).graphs[-1]
    check(optimized, chosen, graph.fingerprint)
    if as_json:
        print_json(chosen.model_dump(mode="json"))
        return
    grids = grids_of(optimized, chosen)
    rows = [("input", "", *_grid(grids.get("input")), "")]
    for node in optimized.nodes:
        scales = chosen.kernels.get(node.parameter_name("weight"))
        kernel = f"{min(scales):.2g} to {max(scales):.2g}" if scales else ""
        rows.append((node.name, node.operation.op, *_grid(grids.get(node.name)), kernel))
    columns = [
        Column("value", least=16), Column("operation", rank=2), Column("scale", "right"), Column("zero", "right"),
        Column("from", "right", rank=1), Column("to", "right", rank=1), Column("kernel", "right"),
    ]  # fmt: skip
    print_table(columns, rows)


def _grid(grid: Grid | None) -> tuple[str, str, str, str]:
    """Return scale, zero point and limits of a grid; of a value in float, nothing."""
    if grid is None:
        return "", "", "", ""
    low, high = grid.limits
    return f"{grid.scale:.4g}", str(grid.zero_point), f"{low:.3g}", f"{high:.3g}"


def _print_graph(graph: Graph) -> None:
    columns = [Column("node", least=16), Column("operation"), Column("output"), Column("inputs", least=12)]
    rows = [(node.name, _operation(node), shape_text(node.shape), ", ".join(node.inputs)) for node in graph.nodes]
    width = terminal_width()
    if width is not None and max(map(len, fitted_lines(columns, rows, width))) > width:
        # The operation has lines of its own, below its node.
        others = [(node, output, inputs) for node, _, output, inputs in rows]
        heading, *lines = fitted_lines([column for column in columns if column.heading != "operation"], others, width)
        click.secho(heading, bold=True)
        for line, (_, operation, _, _) in zip(lines, rows, strict=True):
            click.echo(line)
            click.echo(fill(operation, width, initial_indent="    ", subsequent_indent="      "))
    else:
        print_table(columns, rows)
    click.echo(f"fingerprint {graph.fingerprint}")


def _operation(node: Node) -> str:
    """Return a node's operation with the fields that are not as usual: ``conv2d(channels=64, kernel=7)``."""
    from resnet_spec.operations.ranked import Ranked

    fields = node.operation.model_dump(exclude={"op"}, exclude_defaults=True)
    # Lists of an operation over positions have one number for each axis.
    infos = {} if isinstance(node.operation, Ranked) else type(node.operation).model_fields
    kinds = {name: info.annotation for name, info in infos.items()}
    text = ", ".join(f"{key}={_field(value, kinds.get(key))}" for key, value in fields.items())
    return f"{node.operation.op}({text})" + (f" (calls {node.calls})" if node.calls else "")


def _field(value: Any, kind: Any) -> str:
    """Return a field as a spec has it: a pair of equal numbers is one number, a shape is a list."""
    if not isinstance(value, tuple):
        return str(value)
    is_list = get_args(kind)[-1:] == (...,)
    parts = [_field(item, None) for item in cast("tuple[Any, ...]", value)]
    return parts[0] if len(set(parts)) == 1 and not is_list else f"[{', '.join(parts)}]"


@click.command()
@SPEC
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
    from resnet_spec.graph.summary import Row

    columns = [Column("module" if modules else "layer", least=16)]
    if not modules:
        columns += [Column("type", rank=1), Column("output")]
    columns += [
        Column("parameters", "right"),
        Column("statistics", "right", rank=2),
        Column("in all", "right", rank=3),
        Column("MACs", "right"),
    ]
    rows: list[list[str]] = []
    for row in summary.modules if modules else summary.rows:
        layer = [row.label, shape_text(row.shape)] if isinstance(row, Row) else []
        counts = (row.parameters, row.statistics, row.parameters + row.statistics)
        macs = count(row.macs) if row.macs else "0"
        rows.append([row.name, *layer, *(f"{number:,}" for number in counts), macs])
    print_table(columns, rows)
    if summary.outputs:
        click.echo("\n" + click.style("outputs", bold=shows_styles()))
        strides = [[str(stride) for stride in tap.stride or ()] for tap in summary.outputs]
        texts = ["×".join(numbers[:1] if len(set(numbers)) == 1 else numbers) for numbers in strides]
        taps = [(tap.name, shape_text(tap.shape), text) for tap, text in zip(summary.outputs, texts, strict=True)]
        print_table([Column("name", least=16), Column("shape"), Column("stride", "right")], taps)
    everything = summary.parameters + summary.statistics
    # torchsummary writes MB where it divides by 2²⁰.
    sentences = (
        f"{summary.name}  {summary.parameters:,} parameters trainable"
        f" ({everything:,} in all, {summary.statistics:,} running statistics not), {count(summary.macs)} MACs",
        f"input {summary.input_mib:.2f} MB, forward/backward {summary.forward_backward_mib:.2f} MB,"
        f" parameters {summary.parameters_mib:.2f} MB, {summary.total_mib:.2f} MB in all",
    )
    width = terminal_width()
    click.echo("\n" + "\n".join(text if width is None else fill(text, width) for text in sentences))
