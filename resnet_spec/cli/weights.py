"""``resnet-spec convert``: convert weights from any format to any other."""

from __future__ import annotations

from typing import Any

import click

from resnet_spec.cli.common import (
    JSON,
    READING,
    SET,
    SPEC,
    muted_stderr,
    print_json,
    progress,
    quiet_stdout,
    tell_remarks,
)


def _list_names(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the tables of other libraries' names, and end."""
    if not wanted or context.resilient_parsing:
        return
    from resnet_spec.weights.naming import tables

    width = max(map(len, tables()))
    click.echo("\n".join(f"{table.name:{width}}  {table.description}" for table in tables().values()))
    context.exit()


@click.command()
@SPEC
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@SET
@READING
@click.option("--fold", is_flag=True, help="Fold batch normalizations into the convolutions before them.")
@click.option("--to", "format", metavar="FORMAT", help="The format of a folder OUT: saved_model or transformers.")
@click.option("--names", metavar="LIBRARY", help="Write OUT in a library's names, which --list-names lists.")
@click.option(
    "--list-names",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_names,
    help="List the libraries whose names are known.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "float16", "bfloat16"]),
    help="[default: that of IN; bfloat16 for .safetensors only]",
)
@click.option("--half", is_flag=True, help="The same as --dtype float16, if the format can.")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@JSON
def convert(
    spec: str,
    source: str,
    target: str,
    overrides: tuple[str, ...],
    reading: dict[str, Any],
    fold: bool,
    format: str | None,
    names: str | None,
    dtype: Any,
    half: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Read weights of SPEC from IN (a file, a folder, or the name of published ones) and write them as OUT.

    The format of IN follows from its content, that of OUT from its ending. IN must have exactly the tensors of
    SPEC's parameters.
    """
    from resnet_spec.backend.registry import get_backend, prepare_process
    from resnet_spec.optimization import folding
    from resnet_spec.spec.loader import load
    from resnet_spec.weights.converting import convert as write
    from resnet_spec.weights.converting import find_target
    from resnet_spec.weights.download import resolve
    from resnet_spec.weights.io import fit_file
    from resnet_spec.weights.matching import report_nonfinite

    if half and dtype:
        raise click.UsageError("--half and --dtype exclude each other")
    if dtype in ("float16", "bfloat16"):
        half, dtype = dtype, None
    # Report wrong input before importing a framework, which takes seconds.
    place = find_target(target, format, force=force)
    loaded = load(spec, overrides)
    graph = loaded.to_graph()
    with tell_remarks():
        # A download shows its own progress bar.
        path = resolve(loaded, source)
    with quiet_stdout(), tell_remarks(), progress() as tell:
        tell(f"reading {source}")
        with muted_stderr():
            arrays, counters = fit_file(path, graph, **reading)
        report_nonfinite(arrays, source)
        if fold:
            graph, arrays, counters = folding.fold(graph), folding.fold_arrays(graph, arrays), None
        tell(f"writing {target}")
        if place.backend and not names:
            with muted_stderr():
                prepare_process(place.backend)
                get_backend(place.backend)
        write(graph, arrays, place, dtype=dtype, half=half, names=names, force=force, counters=counters)
    if as_json:
        data = {"name": graph.name, "fingerprint": graph.fingerprint, "tensors": len(arrays)}
        print_json(data | {"input": source, "output": str(place.path), "format": place.format})
    else:
        click.echo(f"{place.path}: {len(arrays)} tensors of {graph.name}")
