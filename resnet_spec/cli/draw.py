"""``resnet-spec draw``: a network as a drawing."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli import completion
from resnet_spec.cli.common import SET, check_input_used, muted_stderr, progress, quiet_stdout
from resnet_spec.errors.extras import require

if TYPE_CHECKING:
    from resnet_spec.drawing.svg import Color
    from resnet_spec.graph import Graph

MANY = 1000
"""A drawing of more parts is hard to read."""

TEXTS = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}
PICTURES = {".svg": "svg", ".html": "html", ".htm": "html", ".png": "png"}


@click.command()
@click.argument("spec", shell_complete=completion.specs)
@SET
@click.option("-o", "--output", metavar="PATH", type=Path, help="A file: .svg, .png, .html, .dot or .mmd (Mermaid).")
@click.option(
    "--expand",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.parts,
    help="Draw the layers of a stage or a block; all for every one. May be repeated.",
)
@click.option("--nodes", is_flag=True, help="Draw every operation; fold nothing.")
@click.option(
    "--color",
    type=click.Choice(["kind", "macs", "params", "activations"]),
    default="kind",
    show_default=True,
    help="What colors mean: the kind of layer, or the cost of each part.",
)
@click.option(
    "--against",
    metavar="B",
    shell_complete=completion.specs,
    help="Draw another spec or model beside it, and mark what SPEC adds to it, removes and changes.",
)
@click.option("--input", "shape", metavar="CxHxW", help="The shape of the input, for a model that does not state it.")
def draw(
    spec: str,
    overrides: tuple[str, ...],
    output: Path | None,
    expand: tuple[str, ...],
    nodes: bool,
    color: Color,
    against: str | None,
    shape: str | None,
) -> None:
    """Draw a network as papers do: stage by stage, equal blocks once, shortcuts as arcs.

    SPEC is a spec, a model (.onnx, .pt2, .keras, .h5, .pb, a SavedModel folder), or package.module:function. Without -o
    the drawing is written to standard output, as SVG. A file that exists is replaced.
    """
    from resnet_spec import drawing
    from resnet_spec.weights.atomic import check_target, replacing

    form = _form(output)
    if form in TEXTS.values() and (against is not None or color != "kind"):
        raise click.UsageError("--against and --color are for .svg, .html and .png")
    if output is not None:
        check_target(output, force=True)
    if form == "png":
        require("drawings", "a PNG drawing", "resvg_py")
    graph, options = _read(spec, overrides, against, shape)
    choice: dict[str, Any] = {"expand": expand, "nodes": nodes}
    if form in TEXTS.values():
        text = drawing.dot(graph, **choice) if form == "dot" else drawing.mermaid(graph, **choice)
    elif form == "png":
        text = drawing.png(graph, color=color, **choice, **options)
    else:
        text = (drawing.html if form == "html" else drawing.svg)(graph, color=color, **choice, **options)
    if nodes and len(graph.nodes) > MANY:
        click.echo(f"{len(graph.nodes):,} operations are drawn; without --nodes equal blocks are drawn once", err=True)
    data = text.encode() if isinstance(text, str) else text
    if output is None:
        # SVG is read as UTF-8, whatever the locale's encoding is; ASCII is both.
        picture = data.decode()
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        click.echo(picture if utf8 else picture.encode("ascii", "xmlcharrefreplace").decode(), nl=False)
    else:
        with replacing(output, force=True) as temporary:
            temporary.write_bytes(data)


def _form(output: Path | None) -> str:
    """The format of a file, by its ending."""
    if output is None:
        if sys.stdout.isatty():
            raise click.UsageError("name a file with -o, such as -o net.svg, or pipe the SVG to another program")
        return "svg"
    forms = PICTURES | TEXTS
    if output.suffix.lower() not in forms:
        raise click.UsageError(f"{output}: the name must end in one of {', '.join(forms)}")
    return forms[output.suffix.lower()]


def _read(
    spec: str, overrides: tuple[str, ...], against: str | None, shape: str | None
) -> tuple[Graph, dict[str, Any]]:
    """The network, and for another one beside it the options that draw and mark it."""
    from resnet_spec.cli.common import shape_argument
    from resnet_spec.describing.networks import read_network

    size = shape_argument(shape)
    with quiet_stdout(), progress() as tell, muted_stderr():
        tell("reading the networks")
        one = read_network(spec, overrides, size)
        if overrides and not one.is_spec:
            raise click.UsageError("--set overrides values of a spec")
        if against is None:
            check_input_used(shape, one)
            return one.graph, {}
        from resnet_spec.describing.differences import compare
        from resnet_spec.describing.marks import marks_of

        other = read_network(against, (), size)
        check_input_used(shape, one, other)
        tell("comparing them")
        comparison = compare(other.graph, one.graph, training=one.is_spec and other.is_spec)
    before, after = marks_of(comparison.alignment)
    return one.graph, {"against": other.graph, "marks": after, "marks_against": before}
