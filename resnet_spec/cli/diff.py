"""``resnet-spec diff``: what differs between two networks, whatever their layers are called."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli.common import (
    JSON,
    LINE,
    SET,
    check_input_used,
    muted_stderr,
    print_json,
    progress,
    quiet_stdout,
    shape_argument,
    table_lines,
)
from resnet_spec.errors.extras import require

if TYPE_CHECKING:
    from resnet_spec.describing.differences import Comparison
    from resnet_spec.describing.networks import Network


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@SET
@click.option("--input", "shape", metavar="CxHxW", help="The shape of the input, for a model that does not state it.")
@click.option("--graph", "as_graph", is_flag=True, help="Print the layers that differ, in pairs.")
@click.option("--html", metavar="PATH", type=Path, help="Write a page with both networks side by side.")
@JSON
def diff(
    first: str,
    second: str | None,
    overrides: tuple[str, ...],
    shape: str | None,
    as_graph: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say what differs in B from A; status 0 if both compute the same, 1 if they differ.

    A and B are specs, models (.onnx, .pt2, .keras, .h5, .pb, a SavedModel folder), or package.module:function for a
    function that returns a PyTorch or Keras model. Layers are compared by how they are connected, not by name. --set
    overrides values of the specs; without B, A with its overrides is compared with A.
    """
    from resnet_spec.describing.differences import compare
    from resnet_spec.describing.networks import read_network
    from resnet_spec.spec.catalog import ENDINGS
    from resnet_spec.weights.atomic import check_target, replacing

    if second is None and not overrides:
        raise click.UsageError("name two networks, or one spec with --set")
    size = shape_argument(shape)
    if html is not None:
        check_target(html, report="HTML")
        require("reports", "an HTML page", "jinja2")
    with quiet_stdout(), progress() as tell, muted_stderr():
        tell("reading the networks")
        one = read_network(first, overrides if second is not None else (), size)
        other = read_network(second if second is not None else first, overrides, size)
        check_input_used(shape, one, other)
        if overrides and not (one.is_spec or other.is_spec):
            raise click.UsageError(f"--set overrides values of specs (shipped, or ending in {' or '.join(ENDINGS)})")
        tell("comparing them")
        comparison = compare(one.graph, other.graph, training=one.is_spec and other.is_spec)
    names = one.name, " ".join([other.name, *(f"--set {item}" for item in overrides if second is None)])
    if html is not None:
        from resnet_spec.describing.page import html_page

        with replacing(html, report="HTML") as temporary:
            temporary.write_text(html_page(comparison, names), "utf-8")
    if as_json:
        print_json(_data(comparison, names, as_graph=as_graph))
    else:
        click.echo("\n".join(_text(comparison, (one, other), names, as_graph=as_graph)))
    if not comparison.same:
        click.get_current_context().exit(1)


def _text(
    comparison: Comparison, networks: tuple[Network, Network], names: tuple[str, str], *, as_graph: bool
) -> list[str]:
    from resnet_spec.describing.pairs import pair_lines

    if comparison.same:
        return [f"{names[1]} computes the same as {names[0]}"]
    lines = wrap(f"{names[1]} compared with {names[0]}", LINE, break_on_hyphens=False)
    lines += pair_lines(comparison.alignment) if as_graph else table_lines(comparison.lines())
    if not all(network.is_spec for network in networks):
        lines.append("What only training depends on is not compared: models do not state all of it.")
    return lines


def _data(comparison: Comparison, names: tuple[str, str], *, as_graph: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from resnet_spec.describing.description import describe
    from resnet_spec.describing.pairs import pair_data

    alignment = comparison.alignment
    data: dict[str, Any] = {
        "same": comparison.same,
        "networks": [
            asdict(describe(parts.graph)) | {"name": name}
            for name, parts in zip(names, (alignment.first, alignment.second), strict=True)
        ],
        "differences": [difference._asdict() for difference in comparison.differences],
        "sizes": {name: list(counts) for name, counts in comparison.sizes.items()},
    }
    return data | ({"nodes": pair_data(alignment)} if as_graph else {})
