"""An outline as SVG: one file without scripts, fonts or references, whose text is text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from html import escape
from math import log2
from typing import Literal, NamedTuple, TypeAlias

from resnet_spec.drawing.colors import SCALE, WORDS, style
from resnet_spec.drawing.layout import Band, Box, Edge, Layout, Size, layout
from resnet_spec.drawing.network import Network
from resnet_spec.drawing.outline import INPUT, Frame, Outline, Part
from resnet_spec.drawing.pairing import paired, shifts
from resnet_spec.drawing.words import KIND_NAMES, legal, shape_text, short, shortened
from resnet_spec.operations.fields import Shape

Color: TypeAlias = Literal["kind", "macs", "params", "activations"]
Mark: TypeAlias = str | float
"""How a node is marked: a word, such as ``changed``, or a share of what is allowed, above 1 if it is beyond."""

MARGIN = 16
LINE = 15
TEXT = 6.6
"""The width of a letter of 12 px, for which no font is asked: most are narrower."""

SHARES = ((0.0, "0"), (0.01, "1 %"), (0.03, "3 %"), (0.1, "10 %"), (0.3, "30 %"), (1.0, "100 %"))
"""The largest shares that have a color each; what is above is beyond."""

COSTS = {"macs": "multiply-accumulates", "params": "parameters", "activations": "elements of activations"}


class Piece(NamedTuple):
    """A drawing in its own coordinates: its elements, from its left top corner, and its size."""

    elements: tuple[str, ...]
    width: float
    height: float
    kinds: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()


def svg(
    network: Network | Outline,
    *,
    expand: Collection[str] = (),
    nodes: bool = False,
    color: Color = "kind",
    marks: Mapping[str, Mark] | None = None,
    against: Network | Outline | None = None,
    marks_against: Mapping[str, Mark] | None = None,
) -> str:
    """Draw a network as SVG: stage by stage, equal blocks once.

    Args:
        network: A graph, or its outline, which is drawn as it is.
        expand: Stages or blocks whose layers are drawn, by name; ``["all"]`` for every one.
        nodes: Draw every operation, and fold nothing.
        color: What colors mean: the kind of each part, or what it costs.
        marks: Nodes that are marked, by name: with a word (``added``, ``removed``, ``changed``), which gives their
            part an outline and a sign, or with a share of what is allowed (above 1 if it is more), which is its color.
        against: Another network, drawn beside it.
        marks_against: Marks of its nodes.

    Returns:
        An SVG element that needs no other file. Its parts have the names of their nodes as ``data-nodes``.

    Raises:
        GraphError: There is no stage or block of a name in ``expand``.

    Examples:
        >>> import resnet_spec
        >>> picture = svg(resnet_spec.load("torchvision/resnet18").to_graph())
        >>> picture[:4], "basic block" in picture
        ('<svg', True)
    """
    pairs = [(network, marks or {})] + ([(against, marks_against or {})] if against is not None else [])
    several = len(pairs) > 1
    drawn = [
        _Drawn(drawn_outline(item, item_marks, expand, nodes=nodes, several=several), color, item_marks)
        for item, item_marks in pairs
    ]
    if several:
        _level(drawn[0], drawn[1])
    pieces = [each.piece() for each in drawn]
    width = sum(piece.width for piece in pieces) + MARGIN * (len(pieces) + 1)
    legend = list(_legend(color, pieces, [mark for _, item in pairs for mark in item.values()], width))
    height = max(piece.height for piece in pieces) + 2 * MARGIN
    title = " and ".join(item.name for item, _ in pairs)
    body: list[str] = []
    x = MARGIN
    for piece in pieces:
        body.append(f'<g transform="translate({_n(x)} {MARGIN})">{"".join(piece.elements)}</g>')
        x += piece.width + MARGIN
    total = height + LINE * 1.4 * len(legend) + (MARGIN if legend else 0)
    rows = "".join(
        f'<g transform="translate({MARGIN} {_n(height + LINE * 1.4 * row)})">{line}</g>'
        for row, line in enumerate(legend)
    )
    return legal(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="net-drawing" role="img" viewBox="0 0 {_n(width)} {_n(total)}"'
        f' width="{_n(width)}" height="{_n(total)}"><title>{escape(title)}</title><style>{style()}</style>'
        f'<rect class="paper" width="{_n(width)}" height="{_n(total)}" rx="6"/>{"".join(body)}{rows}</svg>'
    )


def size_of(picture: str) -> tuple[float, float]:
    """The width and height of a drawing."""
    width, height = picture.partition(' width="')[2].split('"', 3)[:3:2]
    return float(width), float(height)


def drawn_outline(
    network: Network | Outline,
    marks: Mapping[str, Mark] | None,
    expand: Collection[str],
    *,
    nodes: bool,
    several: bool = False,
) -> Outline:
    """The outline of a network; one of several need not have all stages that are expanded."""
    if isinstance(network, Outline):
        return network
    names = {"all", *(scope.name for scope in network.scopes)}
    words = {name: mark for name, mark in (marks or {}).items() if isinstance(mark, str)}
    known = [name for name in expand if name in names or not several]
    return Outline.of(network, known, nodes=nodes, marks=words)


# -- one network -------------------------------------------------------------------------------------------------


class _Drawn:
    """A network and where everything of it is; boxes are the input, the parts, and the outputs at the end."""

    def __init__(self, outline: Outline, color: Color, marks: Mapping[str, Mark]) -> None:
        self.outline, self.marks = outline, marks
        self.color: Color = color
        place = {INPUT: 0} | {part.name: number for number, part in enumerate(outline.parts, 1)}
        self.texts = [_lines(part, color, outline) for part in outline.parts]
        parts = (_size(part, lines) for part, lines in zip(outline.parts, self.texts, strict=True))
        self.sizes = [_input_size(outline), *parts]
        self.sizes += [Size(_text_width(text) + 10, 18) for _, text in outline.outputs]
        self.inputs: list[list[int]] = [[], *([place[name] for name, _ in part.inputs] for part in outline.parts)]
        self.inputs += [[place[name]] for name, _ in outline.outputs]
        self.bands = [
            Band(frame.first + 1, frame.last + 1, frame.depth, _text_width(_heading(frame), 10.5) + 14)
            for frame in outline.frames
        ]
        self.placed = layout(self.sizes, self.inputs, self.bands)

    def lower(self, boxes: Mapping[int, float]) -> None:
        """Move boxes down, and what is below them."""
        self.placed = layout(self.sizes, self.inputs, self.bands, boxes)

    def piece(self) -> Piece:
        """The elements."""
        outline, placed, color, marks = self.outline, self.placed, self.color, self.marks
        most = max((getattr(part.cost, color) for part in outline.parts), default=0) if color != "kind" else 0
        name = shortened(outline.name)
        title = _text_width(name) + 8
        left = max(placed.left, title / 2)
        right = max(placed.right, title / 2)
        elements = [
            f'<text class="bold middle" x="{_n(left)}" y="12">{escape(name)}</text>',
            f'<g transform="translate({_n(left)} 26)">',
            *_frames(outline, placed),
            *(element for edge in placed.edges for element in _edge(edge, placed, outline)),
            *_shapes(outline, placed, self.sizes),
            *_ends(outline, placed),
        ]
        for part, box, lines in zip(outline.parts, placed.boxes[1:], self.texts, strict=False):
            elements += _part(part, box, lines, _fill(part, color, most, marks), _word(part, marks))
        kinds = frozenset(part.kind for part in outline.parts)
        words = tuple(word for part in outline.parts if (word := _word(part, marks)))
        return Piece((*elements, "</g>"), left + right, placed.bottom + 30, kinds, words)


def _level(one: _Drawn, other: _Drawn) -> None:
    """Move equal parts of two networks to the same height; what only one has leaves a gap in the other."""
    alone = [[name for name, mark in drawn.marks.items() if mark in ("added", "removed")] for drawn in (one, other)]
    pairs = [(i + 1, j + 1) for i, j in paired(one.outline, other.outline, alone)]
    # The ends.
    pairs.append((len(one.outline.parts) + 1, len(other.outline.parts) + 1))
    for drawn, boxes in zip((one, other), shifts((one.placed, other.placed), pairs), strict=True):
        drawn.lower(boxes)


def _lines(part: Part, color: Color, outline: Outline) -> tuple[str, ...]:
    if part.sign:
        return part.lines
    lines = tuple(shortened(line) for line in part.lines)
    if color == "kind":
        return lines
    cost, total = getattr(part.cost, color), getattr(outline.total, color)
    share = f"{cost / total:.1%}" if cost >= total / 1000 else "<0.1%"
    return (*lines, f"{short(cost)} ({share})" if cost else "0")


def _size(part: Part, lines: Sequence[str]) -> Size:
    if part.sign:
        beside = _text_width(" · ".join(lines[1:]), 10.5)
        return Size(22, 22, left=beside + 6 if beside else 0)
    channels = next(iter(part.shape), 1)
    text = max(_text_width(line) for line in lines) + 16
    above, below, right = (14, 17, 16) if part.shortcut else (0, 0, 0)
    if part.shortcut not in ("", "identity"):
        right += 4 + max(_text_width(line, 10.5) for line in part.shortcut.split(" → "))
    if part.times > 1:
        above, right = above + 6, max(right, 8)
    left = 14 + _text_width(str(part.times)) if part.times > 1 else 0
    return Size(max(text, 50 + 17 * log2(max(channels, 2))), 10 + LINE * len(lines), above, below, left, right)


def _input_size(outline: Outline) -> Size:
    return Size(_text_width(f"input {shape_text(outline.input)}") + 10, 18)


def _text_width(text: str, size: float = 12) -> float:
    return len(text) * TEXT * size / 12


def _fill(part: Part, color: Color, most: int, marks: Mapping[str, Mark]) -> str:
    """The class of a part's color."""
    shares = [mark for name in part.nodes if not isinstance(mark := marks.get(name, ""), str)]
    if shares:
        worst = max(shares, key=lambda share: (share != share, share))
        return next((f"s-{step}" for step, (limit, _) in enumerate(SHARES) if worst <= limit), "beyond")
    if any(not isinstance(mark, str) for mark in marks.values()):
        return "k-join"
    if color == "kind":
        return f"k-{part.kind}"
    cost = getattr(part.cost, color)
    return f"s-{min(len(SCALE) - 1, round(cost / most * (len(SCALE) - 1)))}" if most and cost else "s-0"


def _word(part: Part, marks: Mapping[str, Mark]) -> str:
    """The word that a part is marked with; ``changed`` for a block of which only some nodes are marked."""
    words = {mark for name in part.nodes if isinstance(mark := marks.get(name), str)}
    if not words:
        return ""
    every = all(isinstance(marks.get(name), str) for name in part.nodes)
    return next(iter(words)) if len(words) == 1 and every else "changed"


def _part(part: Part, box: Box, lines: Sequence[str], fill: str, word: str) -> Iterator[str]:
    x, y = box.x - box.width / 2, box.y - box.height / 2
    nodes = " ".join(part.nodes[:200])
    yield f'<g data-part="{escape(part.name)}" data-nodes="{escape(nodes)}"><title>{escape(_tooltip(part))}</title>'
    sign = "✗" if fill == "beyond" else WORDS.get(word, "•" if word else "")
    if part.sign:
        yield f'<circle class="box {fill}" cx="{_n(box.x)}" cy="{_n(box.y)}" r="11"/>'
        yield f'<text class="middle bold" x="{_n(box.x)}" y="{_n(box.y + 4.2)}">{part.sign}</text>'
        beside = " · ".join(lines[1:])
        if beside:
            yield f'<text class="small end" x="{_n(box.x - 15)}" y="{_n(box.y + 4)}">{escape(beside)}</text>'
    else:
        if part.times > 1:
            for step in (6, 3):
                yield _rect(f"box {fill}", x + step, y - step, box.width, box.height)
        yield _rect(f"box {fill}", x, y, box.width, box.height)
        for number, line in enumerate(lines):
            style = "middle bold" if number == 0 and part.kind in ("block", "down") else "middle"
            yield f'<text class="{style}" x="{_n(box.x)}" y="{_n(y + 16 + LINE * number)}">{escape(line)}</text>'
        if part.times > 1:
            yield f'<text class="bold end" x="{_n(x - 7)}" y="{_n(box.y + 4)}">{part.times} ×</text>'
    if word:
        yield _rect(f"marked m-{word if word in WORDS else 'changed'}", x - 2, y - 2, box.width + 4, box.height + 4)
    if sign:
        style = f" t-{word}" if word in WORDS else ""
        yield f'<text class="bold{style}" x="{_n(x + 4)}" y="{_n(y + 13)}">{sign}</text>'
    yield "</g>"
    if part.shortcut and not part.sign:
        yield from _shortcut(part, box)


def _shortcut(part: Part, box: Box) -> Iterator[str]:
    """The arc around a residual block, dashed where layers change the shape."""
    right = box.x + box.width / 2
    top, bottom = box.y - box.height / 2 - (16 if part.times > 1 else 10), box.y + box.height / 2 + 11
    lane = right + 14
    dashed = "" if part.shortcut == "identity" else " dashed"
    yield (
        f'<path class="line{dashed}" d="M{_n(box.x)} {_n(top)}H{_n(lane - 6)}Q{_n(lane)} {_n(top)} {_n(lane)}'
        f' {_n(top + 6)}V{_n(bottom - 6)}Q{_n(lane)} {_n(bottom)} {_n(lane - 6)} {_n(bottom)}H{_n(box.x + 6)}"/>'
    )
    yield f'<circle class="box k-join" cx="{_n(box.x)}" cy="{_n(bottom)}" r="5.5"/>'
    yield (f'<path class="line" d="M{_n(box.x - 3)} {_n(bottom)}h6M{_n(box.x)} {_n(bottom - 3)}v6"/>')
    lines = part.shortcut.split(" → ") if dashed else []
    for number, line in enumerate(lines):
        y = box.y + 4 + 13 * (number - (len(lines) - 1) / 2)
        yield f'<text class="small soft" x="{_n(lane + 4)}" y="{_n(y)}">{escape(line)}</text>'


def _tooltip(part: Part) -> str:
    names = part.name if len(part.nodes) == 1 else f"{part.nodes[0]} … {part.nodes[-1]}"
    times = f", {part.times} blocks" if part.times > 1 else ""
    cost = part.cost
    return (
        f"{names}{times}\n{' · '.join(part.lines)}\noutput {shape_text(part.shape)}\n{short(cost.params)} parameters, "
        f"{short(cost.macs)} multiply-accumulates, {short(cost.activations)} elements of activations"
    )


def _frames(outline: Outline, placed: Layout) -> Iterator[str]:
    for frame, rectangle in zip(outline.frames, placed.frames, strict=True):
        x, y, width, height = rectangle
        if frame.times > 1:
            for step in (6, 3):
                yield _rect("frame", x + step, y - step, width, height, 6)
        yield _rect("frame", x, y, width, height, 6)
        bold = " bold" if frame.depth == 0 or frame.times > 1 else ""
        yield f'<text class="soft small{bold}" x="{_n(x + 8)}" y="{_n(y + 14)}">{escape(_heading(frame))}</text>'


def _heading(frame: Frame) -> str:
    name = shortened(frame.name, 40)
    return f"{frame.times} × {name}" if frame.times > 1 else name


def _edge(edge: Edge, placed: Layout, outline: Outline) -> Iterator[str]:
    points = list(edge.points)
    yield f'<path class="line" d="{_rounded(points)}"/>'
    (x0, y0), (x1, y1) = points[-2], points[-1]
    yield _head(x1, y1, x1 - x0, y1 - y0)


def _rounded(points: Sequence[tuple[float, float]], radius: float = 6) -> str:
    parts = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{_n(start[0])} {_n(start[1])}Q{_n(corner[0])} {_n(corner[1])} {_n(end[0])} {_n(end[1])}")
    parts.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    return "".join(parts)


def _towards(one: tuple[float, float], other: tuple[float, float], radius: float) -> tuple[float, float]:
    dx, dy = other[0] - one[0], other[1] - one[1]
    length = max(abs(dx), abs(dy), 1e-9)
    step = min(radius, length / 2) / length
    return one[0] + dx * step, one[1] + dy * step


def _head(x: float, y: float, dx: float, dy: float) -> str:
    if abs(dx) > abs(dy):
        back = -6 if dx > 0 else 6
        return f'<path class="head" d="M{_n(x)} {_n(y)}l{back} -3.2v6.4z"/>'
    return f'<path class="head" d="M{_n(x)} {_n(y)}l-3.2 -6h6.4z"/>'


def _shapes(outline: Outline, placed: Layout, sizes: Sequence[Size]) -> Iterator[str]:
    """The shapes beside the lines that go straight down."""
    shapes: list[Shape] = [outline.input, *(part.shape for part in outline.parts)]
    for edge in placed.edges:
        one, other = placed.boxes[edge.source], placed.boxes[edge.target]
        if edge.is_arc or edge.source == 0 or abs(one.x - other.x) > 0.5 or other.y - one.y > 400:
            continue
        y = other.y - other.height / 2 - sizes[edge.target].above - 12
        yield f'<text class="small soft" x="{_n(one.x + 6)}" y="{_n(y)}">{shape_text(shapes[edge.source])}</text>'


def _ends(outline: Outline, placed: Layout) -> Iterator[str]:
    box = placed.boxes[0]
    yield f'<text class="middle" x="{_n(box.x)}" y="{_n(box.y + 4)}">input {shape_text(outline.input)}</text>'
    for box, (_, text) in zip(placed.boxes[len(outline.parts) + 1 :], outline.outputs, strict=True):
        yield f'<text class="middle soft" x="{_n(box.x)}" y="{_n(box.y + 4)}">{escape(text)}</text>'


# -- the legend --------------------------------------------------------------------------------------------------


def _legend(color: Color, pieces: Sequence[Piece], marks: Sequence[Mark], width: float) -> Iterator[str]:
    """Rows of a legend, as wide as the drawing."""
    items: list[tuple[str, str]] = []
    if any(not isinstance(mark, str) for mark in marks):
        items += [(f"s-{step}", name) for step, (_, name) in enumerate(SHARES)] + [("beyond", "✗ beyond the bound")]
    elif color == "kind":
        kinds = frozenset[str]().union(*(piece.kinds for piece in pieces))
        items += [(f"k-{kind}", name) for kind, name in KIND_NAMES.items() if kind in kinds]
    else:
        last = len(SCALE) - 1
        items += [
            ("s-0", f"few {COSTS[color]}"),
            *((f"s-{step}", "") for step in range(1, last)),
            (f"s-{last}", "many"),
        ]
    words = dict.fromkeys(word for piece in pieces for word in piece.words)
    row, x = "", 0.0
    for mark, name in [*items, *((f"m-{word}", word) for word in words)]:
        need = 18 + _text_width(name, 10.5) + (12 if name else 0)
        if row and x + need > width - 2 * MARGIN:
            yield row
            row, x = "", 0.0
        kind = f"marked {mark}" if mark.startswith("m-") else f"box {mark}"
        row += _rect(kind, x + 1, 1, 12, 12) + (
            f'<text class="small" x="{_n(x + 18)}" y="11">{escape(name)}</text>' if name else ""
        )
        x += need
    if row:
        yield row


def _rect(style: str, x: float, y: float, width: float, height: float, radius: float = 4) -> str:
    size = f'width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" {size} rx="{_n(radius)}"/>'


def _n(number: float) -> str:
    """A coordinate, to a tenth."""
    return f"{number:.1f}".removesuffix(".0")
