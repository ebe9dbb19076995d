"""A drawing as a page, and as an image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from html import escape
from math import sqrt
from typing import TypedDict, Unpack

from resnet_spec.drawing.colors import THEMES
from resnet_spec.drawing.network import Network
from resnet_spec.drawing.outline import Outline
from resnet_spec.drawing.svg import Color, Mark, drawn_outline, size_of, svg
from resnet_spec.drawing.words import shape_text
from resnet_spec.errors import OutputError
from resnet_spec.errors.extras import needs

MAX_SIDE = 32_000
MAX_PIXELS = 120_000_000
"""What programs that show images read."""

_STYLE = """
:root{color-scheme:light dark}
body{margin:0 auto;padding:1rem;max-width:72rem;font:15px/1.45 system-ui,sans-serif;background:Canvas;color:CanvasText}
h1{font-size:1.25rem;overflow-wrap:anywhere}h2{font-size:1rem}
.scroll{overflow-x:auto}
.scroll>svg{display:block;margin:auto;height:auto;max-width:100%;min-width:min(100%,var(--least))}
table{border-collapse:collapse;width:100%;margin-top:1rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:left;border-bottom:1px solid color-mix(in srgb,CanvasText 18%,transparent)}
.n{text-align:right;white-space:nowrap}
@media print{body{max-width:none;padding:0}h2,table{break-inside:avoid}}
"""


class Options(TypedDict, total=False):
    """What ``svg`` draws; see there."""

    expand: Collection[str]
    nodes: bool
    color: Color
    marks: Mapping[str, Mark] | None
    against: Network | Outline | None
    marks_against: Mapping[str, Mark] | None


def html(network: Network | Outline, **options: Unpack[Options]) -> str:
    """Draw a network as a page with a table of its parts, light or dark as the reader's system is.

    Args:
        network: A graph.
        **options: Those of ``svg``.

    Returns:
        HTML without scripts, which needs no other file.

    Raises:
        GraphError: There is no stage or block of a name in ``expand``.

    Examples:
        >>> import resnet_spec
        >>> page = html(resnet_spec.load("torchvision/resnet18").to_graph())
        >>> page.count("<svg "), "11,689,512" in page
        (1, True)
    """
    other = options.get("against")
    pairs = [(network, options.get("marks"))] + ([(other, options.get("marks_against"))] if other is not None else [])
    choice = {"nodes": options.get("nodes", False), "several": other is not None}
    outlines = [drawn_outline(item, marks, options.get("expand", ()), **choice) for item, marks in pairs]
    picture = svg(network, **options)
    title = " and ".join(outline.name for outline in outlines)
    least = size_of(picture)[0] * 0.75
    tables = "".join("".join(_table(outline, title=len(outlines) > 1)) for outline in outlines)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<div class="scroll" style="--least:{least:.0f}px">{picture}</div>\n{tables}</body>\n</html>\n'
    )


def _table(outline: Outline, *, title: bool) -> Iterator[str]:
    total = outline.total
    yield f"<h2>{escape(outline.name)}</h2>" if title else ""
    yield '<div class="scroll"><table><thead><tr><th>part</th><th>layers</th><th class="n">output</th>'
    for name in ("parameters", "multiply-accumulates", "activations"):
        yield f'<th class="n">{name}</th>'
    yield "</tr></thead><tbody>"
    for part in outline.parts:
        times = f"{part.times} × " if part.times > 1 else ""
        texts = part.name, times + ", ".join(part.lines)
        counts = (f"{number:,}" for number in (part.cost.params, part.cost.macs, part.cost.activations))
        yield "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts)
        yield "".join(f'<td class="n">{text}</td>' for text in (shape_text(part.shape), *counts)) + "</tr>"
    yield "</tbody><tfoot><tr><th>in all</th><th></th><th></th>"
    yield "".join(f'<th class="n">{number:,}</th>' for number in (total.params, total.macs, total.activations))
    yield "</tr></tfoot></table></div>\n"


def png(network: Network | Outline, *, scale: float = 2.0, **options: Unpack[Options]) -> bytes:
    """Draw a network as an image; needs the extra ``drawings``.

    Args:
        network: A graph.
        scale: How many pixels wide a pixel of the SVG is; less for a drawing that would be too large for an image.
        **options: Those of ``svg``.

    Returns:
        The bytes of a PNG file.

    Raises:
        GraphError: There is no stage or block of a name in ``expand``.
        MissingLibraryError: The extra is not installed.
        OutputError: The drawing is too large to be legible as an image, or there is no font to write its text with.

    Examples:
        >>> import resnet_spec
        >>> png(resnet_spec.load("torchvision/resnet18").to_graph())[1:4]
        b'PNG'
    """
    with needs("drawings", "a PNG drawing"):
        from resvg_py import svg_to_bytes
    picture = svg(network, **options)
    width, height = size_of(picture)
    scale = min(scale, MAX_SIDE / max(width, height), sqrt(MAX_PIXELS / (width * height)))
    if scale < 0.5:
        raise OutputError(f"a drawing of {width:,.0f} × {height:,.0f} pixels is too large for PNG: write .svg or .html")
    if svg_to_bytes(svg_string=_LETTER) == svg_to_bytes(svg_string=_LETTER.replace("X", "")):
        raise OutputError("no font is installed, by which a PNG has text: install one (such as DejaVu), or write .svg")
    return bytes(svg_to_bytes(svg_string=picture, zoom=scale, background=THEMES[0].paper))


_LETTER = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
    "<text y=\"15\" font-family=\"Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif\">X</text></svg>"
)
