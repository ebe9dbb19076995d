"""Reports as one self-contained HTML page.

This module computes what is drawn from reports: bars and cells with their positions and levels. Texts, colors and
escaping are in the templates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import ceil, floor, inf, isinf, log10
from typing import TYPE_CHECKING, NamedTuple

from resnet_spec.drawing import svg
from resnet_spec.drawing.svg import SHARES
from resnet_spec.parity.render import words
from resnet_spec.parity.render.pages import SHARED, render
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE, ROUNDING_FACTOR

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import DType
    from resnet_spec.parity.report import Difference, Finding, NodeReport, ParityReport

WITHIN = SHARES
BEYOND = ((10.0, "10 ×"), (1000.0, "1000 ×"), (inf, "more"))
"""The levels that have a color each: the largest share of a bound, and its name."""

LOWEST, HIGHEST = -8, 16
"""Powers of ten between which a histogram has columns."""


def html_page(reports: Sequence[ParityReport], errors: Mapping[str, str] | None = None) -> str:
    """Return a page on a whole run; ``errors`` are the messages of the specs that could not be compared."""
    return render(
        SHARED,
        "page.html",
        drawings=[Drawing(report, f"spec-{index}") for index, report in enumerate(reports, 1)],
        errors=errors or {},
        words=words,
        legend=_legend(),
        relative_tolerance=f"{RELATIVE_TOLERANCE:.0e}",
        rounding_factor=f"{ROUNDING_FACTOR:g}",
    )


class Cell(NamedTuple):
    """One node: the number of its color, a mark that shows problems without color, and its tooltip."""

    node: NodeReport
    id: str
    level: int
    mark: str
    title: str


class Block(NamedTuple):
    """Neighboring nodes that are drawn together; ``opened`` if the first problem is among them."""

    name: str
    cells: Sequence[Cell]
    failed: int
    opened: bool


class Stage(NamedTuple):
    """Neighboring blocks, or the nodes before or after all blocks."""

    name: str
    blocks: Sequence[Block]


class Bar(NamedTuple):
    """One bar of a histogram; lengths are in the drawing's units, ``y`` downwards."""

    x: float
    y: float
    width: float
    height: float
    nodes: int
    beyond: bool


class Tick(NamedTuple):
    """A label below a histogram: text, or a power of ten."""

    x: float
    text: str
    power: str


class Histogram(NamedTuple):
    """The number of nodes by the share of their bound that they use, in one precision; ``limit`` is the bound's x."""

    dtype: DType
    summary: str
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    limit: float


@dataclass(frozen=True)
class Drawing:
    """One report as the page shows it; ``id`` is the prefix of its anchors."""

    report: ParityReport
    id: str

    @cached_property
    def backends(self) -> list[str]:
        """The backends compared, the reference first."""
        found: dict[str, None] = dict.fromkeys(self.report.environment)
        for difference in self.report.differences:
            found |= dict.fromkeys((difference.reference.removesuffix(" float64"), difference.backend))
        return list(found)

    @cached_property
    def failed(self) -> list[Difference]:
        """The differences beyond their bounds, of logits and training."""
        return [difference for difference in self.report.differences if not difference.passed]

    @cached_property
    def leads(self) -> list[list[Finding]]:
        """The findings in groups, the first node first."""
        return words.grouped(self.report.findings)

    @cached_property
    def quantities(self) -> list[str]:
        """What was compared besides nodes."""
        return list(dict.fromkeys(difference.quantity for difference in self.report.differences))

    @cached_property
    def settings(self) -> list[str]:
        """The names of all settings of any backend."""
        return list(dict.fromkeys(name for settings in self.report.environment.values() for name in settings))

    def anchor(self, name: str) -> str:
        """Return the anchor of a node."""
        return self._anchors.get(name, self.id)

    @cached_property
    def _anchors(self) -> dict[str, str]:
        return {node.name: f"{self.id}-node-{index}" for index, node in enumerate(self.report.nodes, 1)}

    @cached_property
    def stages(self) -> list[Stage]:
        """The network in order of execution."""
        names = [name for name, _ in groupby(node.stage for node in self.report.nodes)]
        staged = [index for index, name in enumerate(names) if name]
        wrong = next((c.node.name for c in map(self._cell, self.report.nodes) if c.mark), "")
        stages: list[Stage] = []
        for index, (name, nodes) in enumerate(groupby(self.report.nodes, key=lambda node: node.stage)):
            stages.append(Stage(name or _unstaged(index, staged), list(self._blocks(nodes, wrong))))
        return stages

    def _blocks(self, nodes: Iterable[NodeReport], wrong: str) -> Iterator[Block]:
        for name, inside in groupby(nodes, key=lambda node: node.block):
            cells = [self._cell(node) for node in inside]
            failed = sum(bool(cell.mark) for cell in cells)
            yield Block(name, cells, failed, opened=any(cell.node.name == wrong for cell in cells))

    def _cell(self, node: NodeReport) -> Cell:
        misplaced = any(f.kind == "assembly" and f.node == node.name for f in self.report.findings)
        mark = "✗" if not node.passed else "!" if misplaced else ""
        worst = words.worst(node)
        lines = (
            f"{node.name}: {node.operation}, {'×'.join(map(str, node.shape))}",
            f"{words.sides(worst)}: relative {words.figure(worst.relative)}, {words.share_text(worst)} of its bound",
            f"accumulated error {words.figure(node.accumulated_error)}",
        )
        return Cell(node, self.anchor(node.name), _level(worst), mark, "\n".join(lines))

    @cached_property
    def picture(self) -> str:
        """The network, each part in the color of its node with the largest share; empty if it is not known."""
        outline = self.report.outline
        return svg(outline, marks=self.report.marks) if outline is not None else ""

    @cached_property
    def histograms(self) -> list[Histogram]:
        """The histogram of each precision."""
        return [_histogram(dtype, nodes) for dtype in ("float64", "float32") if (nodes := _by(dtype, self.report))]


def _legend() -> list[tuple[str, str]]:
    """Return the mark and the meaning of each color."""
    return [("", name) for _, name in WITHIN] + [("✗", name) for _, name in BEYOND]


def _level(difference: Difference) -> int:
    """The number of a difference's color."""
    part = words.share(difference)
    if difference.passed:
        return next(level for level, (most, _) in enumerate(WITHIN) if part <= most)
    return len(WITHIN) + next(level for level, (most, _) in enumerate(BEYOND) if part <= most)


def _unstaged(index: int, staged: Sequence[int]) -> str:
    """Return the name of nodes outside all stages, by their position."""
    if not staged:
        return "network"
    if index < staged[0]:
        return "stem"
    return "head" if index > staged[-1] else "between stages"


# ---------------------------------------------------------------------------------------------------------------
# Histograms

WIDTH, HEIGHT = 360, 150
LEFT, TOP, BOTTOM = 8, 16, 24
CROWDED = 36
"""The width of a column from which the lowest power of ten has a label too."""


def _by(dtype: DType, report: ParityReport) -> list[Difference]:
    """Return the difference of each node that uses most of its bound, in one precision."""
    found: list[Difference] = []
    for node in report.nodes:
        own = [difference for difference in node.differences if difference.dtype == dtype]
        if own:
            found.append(max(own, key=lambda difference: (not difference.passed, words.share(difference))))
    return found


def _histogram(dtype: DType, differences: Sequence[Difference]) -> Histogram:
    shares = [words.share(difference) for difference in differences]
    scale = _Scale.over(shares)
    counts = Counter(scale.column(part) for part in shares)
    most = max(counts.values())
    bars: list[Bar] = []
    for column, count in sorted(counts.items()):
        height = (HEIGHT - TOP - BOTTOM) * count / most
        x = LEFT + column * scale.step
        beyond = column > scale.bound
        bars.append(Bar(x + 1, HEIGHT - BOTTOM - height, scale.step - 2, height, count, beyond))
    zero, beyond = shares.count(0.0), sum(not difference.passed for difference in differences)
    summary = f"{len(shares)} nodes, {beyond} beyond their bounds, {zero} without any difference"
    return Histogram(dtype, summary, bars, scale.ticks(counts), LEFT + (scale.bound + 1) * scale.step)


class _Scale(NamedTuple):
    """Columns of equal width: zero, powers of ten or fractions of them, and infinity."""

    low: int
    high: int
    parts: int

    @classmethod
    def over(cls, shares: Iterable[float]) -> _Scale:
        """Return a scale that covers shares and the bound."""
        powers = [log10(part) for part in shares if part and not isinf(part)]
        low = max(LOWEST, min((-1, *map(floor, powers))))
        high = min(HIGHEST, max((0, *map(ceil, powers))))
        return cls(low, high, 4 if high - low <= 3 else 2 if high - low <= 6 else 1)

    @property
    def columns(self) -> int:
        return (self.high - self.low) * self.parts + 2

    @property
    def step(self) -> float:
        """The width of a column."""
        return (WIDTH - 2 * LEFT) / self.columns

    @property
    def bound(self) -> int:
        """The last column within the bound."""
        return -self.low * self.parts

    def column(self, part: float) -> int:
        """Return the column of a share; a column includes its upper edge, as the bound does."""
        if not part:
            return 0
        if isinf(part):
            return self.columns - 1
        place = ceil((log10(part) - self.low) * self.parts)
        return min(max(place, 1), self.columns - 2)

    def ticks(self, used: Mapping[int, int]) -> list[Tick]:
        every = 1 + (self.high - self.low) // 8
        ticks = [
            Tick(LEFT + (1 + (power - self.low) * self.parts) * self.step, "", str(power))
            for power in range(self.low, self.high + 1)
            if not power % every and (self.step > CROWDED or power > self.low)
        ]
        ends = ((0, "0"), (self.columns - 1, "∞"))
        return ticks + [Tick(LEFT + (column + 0.5) * self.step, text, "") for column, text in ends if column in used]
