"""Where the parts of a drawing are: one below the other as they are executed, branches and shortcuts beside them.

Networks are chains with few branches, and are read as chains. So the longest path is a straight line, and each branch
has a lane beside it, as near as there is room; what skips a stage has one on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

GAP = 26
"""Between the rows, where the shapes are written."""

BRANCH = 9
"""From where a line branches off to the next row."""

FAR = 12
"""A shortcut past more rows than this is beside all others, where there are no frames."""

ABOVE = 4
"""From a row to the line below it that ends at the next row."""

BESIDE = 6
"""From the middle of a box to where a second line ends at its top."""

LANE = 15
"""Between a shortcut and what is beside it."""

PADDING = 12
"""Between a frame and what is in it."""

HEADING = 16
"""The room for the name of a frame."""


class Size(NamedTuple):
    """The width and height of a box, and the room that it needs on each side for what is written or drawn there."""

    width: float
    height: float
    above: float = 0
    below: float = 0
    left: float = 0
    right: float = 0


class Box(NamedTuple):
    """Where a box is: its center, and its size."""

    x: float
    y: float
    width: float
    height: float


class Edge(NamedTuple):
    """A line from one box, or the input (-1), to another; its corners, and whether it skips others beside it."""

    source: int
    target: int
    points: tuple[tuple[float, float], ...]
    is_arc: bool


class Rectangle(NamedTuple):
    """A frame: its left top corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width


class Band(NamedTuple):
    """A frame to place: its first and last box, how deep it is in others, and the width of its name."""

    first: int
    last: int
    depth: int
    width: float


@dataclass
class Layout:
    """Where everything is; ``left`` and ``right`` are the extents from the middle of the longest path."""

    boxes: list[Box] = field(default_factory=list[Box])
    edges: list[Edge] = field(default_factory=list[Edge])
    frames: list[Rectangle] = field(default_factory=list[Rectangle])
    left: float = 0
    right: float = 0
    bottom: float = 0


def layout(
    sizes: Sequence[Size],
    inputs: Sequence[Sequence[int]],
    bands: Sequence[Band],
    lower: Mapping[int, float] | None = None,
) -> Layout:
    """Place boxes and lines.

    Args:
        sizes: Of each box, in order of execution; the first is the network's input.
        inputs: The places of the boxes that each box reads, all before it.
        bands: Frames around consecutive boxes, the outer before the inner.
        lower: More room above some boxes and what is below them.

    Returns:
        Where they are.

    Examples:
        >>> placed = layout([Size(80, 20)] * 4, [[], [0], [1], [2, 0]], [])
        >>> [box.x for box in placed.boxes], [edge.is_arc for edge in placed.edges]
        ([0.0, 0.0, 0.0, 0.0], [False, False, False, True])
    """
    return _Layouter(sizes, inputs, bands, lower or {}).result()


class _Lane(NamedTuple):
    """A branch, or a shortcut without boxes: the rows that it passes, its boxes, and the boxes that it connects."""

    first: int
    last: int
    boxes: tuple[int, ...]
    ends: tuple[int, int]


class _Layouter:
    def __init__(
        self,
        sizes: Sequence[Size],
        inputs: Sequence[Sequence[int]],
        bands: Sequence[Band],
        lower: Mapping[int, float],
    ) -> None:
        self.lower = lower
        self.sizes = sizes
        self.inputs = inputs
        self.bands = bands
        self.rows = self._rows()
        self.users: list[list[int]] = [[] for _ in inputs]
        for place, read in enumerate(inputs):
            for source in read:
                self.users[source].append(place)
        self.after: dict[int, int] = {}
        self.chains = self._chains()
        self.count = max(self.rows, default=-1) + 1
        self.inner: list[list[int]] = [[] for _ in range(self.count)]
        for place, row in enumerate(self.rows):
            self.inner[row].append(place)
        self.x = [0.0] * len(sizes)
        self.boxes: list[Box] = []
        self.entries: set[tuple[int, int]] = set()
        self.lane_x: dict[tuple[int, int], float] = {}

    def result(self) -> Layout:
        main = set(self.chains[0]) if self.chains else set[int]()
        sizes = [[self.sizes[place] for place in places if place in main] for places in self.inner]
        right = [max((size.width / 2 + size.right for size in row), default=4.0) for row in sizes]
        left = [max((size.width / 2 + size.left for size in row), default=4.0) for row in sizes]
        near, far = self._lanes()
        for lane in near:
            self._place(lane, right, 1)
        top, middle, bottom = self._heights()
        out = Layout()
        out.frames = self._frames(left, right, top, bottom)
        for band, frame in zip(self.bands, out.frames, strict=True):
            for row in range(self.rows[band.first], self.rows[band.last] + 1):
                left[row] = max(left[row], -frame.x)
        for lane in far:
            self._place(lane, left, -1)
        self.boxes = out.boxes = [
            Box(self.x[p], middle[row], self.sizes[p].width, self.sizes[p].height) for p, row in enumerate(self.rows)
        ]
        out.edges = [self._edge(source, place, top) for place, read in enumerate(self.inputs) for source in read]
        out.left = max([*left, 0.0]) + 4
        out.right = max([*right, *(frame.right for frame in out.frames)]) + 4
        out.bottom = max([*bottom, *(frame.y + frame.height for frame in out.frames)])
        return out

    # -- rows and chains -----------------------------------------------------------------------------------------

    def _rows(self) -> list[int]:
        """The row of each box: below all that it reads, and below all frames that end before it."""
        starts = {band.first for band in self.bands} | {band.last + 1 for band in self.bands}
        rows: list[int] = []
        least = deepest = 0
        for place, read in enumerate(self.inputs):
            if place in starts:
                least = deepest
            row = max([least, *(rows[source] + 1 for source in read)])
            rows.append(row)
            deepest = max(deepest, row + 1)
        return rows

    def _chains(self) -> list[list[int]]:
        """The boxes in chains, the longest path first: each box goes on with the reader from which most follows."""
        users = self.users
        follow = [0] * len(self.inputs)
        for place in range(len(self.inputs) - 1, -1, -1):
            follow[place] = max((follow[user] + 1 for user in users[place]), default=0)
        after = self.after
        for place, read in enumerate(self.inputs):
            source = max(read, key=lambda source: self.rows[source], default=None)
            if source is not None and max(users[source], key=lambda user: (follow[user], -user)) == place:
                after[source] = place
        begun = set(after.values())
        chains: list[list[int]] = []
        for place in range(len(self.inputs)):
            if place not in begun:
                chain = [place]
                while chain[-1] in after:
                    chain.append(after[chain[-1]])
                chains.append(chain)
        # The input's chain may be short where another value, such as a learned one, is the longest path.
        return sorted(chains, key=lambda chain: (-len(chain), chain[0]))

    def _lanes(self) -> tuple[list[_Lane], list[_Lane]]:
        """The branches and shortcuts, the shortest first: those within a frame, and those that leave one."""
        chain_of = {place: chain for chain in self.chains for place in chain}
        lanes = [_Lane(*self._reach(chain), tuple(chain), (chain[0], chain[-1])) for chain in self.chains[1:]]
        for place, read in enumerate(self.inputs):
            for source in read:
                links = (
                    chain_of[source] is chain_of[place]
                    or place == chain_of[place][0]
                    or (source == chain_of[source][-1])
                )
                next_to = self.rows[place] - self.rows[source] == 1
                if self.after.get(source) == place or self._is_entry(source, place, chain_of) or (next_to and links):
                    continue
                lanes.append(_Lane(self.rows[source] + 1, self.rows[place] - 1, (), (source, place)))
        lanes.sort(key=lambda lane: (lane.last - lane.first, lane.first))
        beside = {place for lane in lanes if lane.boxes and self._is_far(lane) for place in lane.boxes}
        near: list[_Lane] = []
        far: list[_Lane] = []
        for lane in lanes:
            (far if self._is_far(lane) or beside & {*lane.boxes, *lane.ends} else near).append(lane)
        return near, far

    def _is_far(self, lane: _Lane) -> bool:
        """Whether a lane is beside the frames, because it passes some and is in none."""
        if not lane.boxes:
            return self._leaves(*lane.ends)
        first = lane.boxes[0]
        inside = any(band.first <= first <= band.last for band in self.bands)
        return not inside and bool(self.inputs[first]) and self._leaves(self._deepest(first), first)

    def _is_entry(self, source: int, place: int, chain_of: Mapping[int, list[int]]) -> bool:
        """Whether an edge is the one by which a branch begins or ends, in whose lane it is."""
        main = self.chains[0]
        if chain_of[place] is not main and chain_of[place][0] == place and source == self._deepest(place):
            self.entries.add((source, place))
            return True
        return chain_of[source] is not main and chain_of[source][-1] == source and self.users[source][0] == place

    def _deepest(self, place: int) -> int:
        """The lowest of the boxes that one reads."""
        return max(self.inputs[place], key=lambda other: self.rows[other])

    def _reach(self, chain: Sequence[int]) -> tuple[int, int]:
        """The rows that a branch passes, with the lines by which it begins and ends."""
        first = self.rows[self._deepest(chain[0])] + 1 if self.inputs[chain[0]] else self.rows[chain[0]]
        last = self.rows[chain[-1]]
        return first, max([last, *(self.rows[user] - 1 for user in self.users[chain[-1]][:1])])

    def _leaves(self, source: int, target: int) -> bool:
        """Whether a shortcut leaves a frame that it does not begin or end beside, or passes one."""
        for band in self.bands:
            begins, ends = band.first <= source <= band.last, band.first <= target <= band.last
            before = self._before(band) if ends and not begins else -1
            if (begins and not ends and source != band.last) or (ends and not begins and source != before):
                return True
            if source < band.first and band.last < target:
                return True
        return not self.bands and self.rows[target] - self.rows[source] > FAR

    def _before(self, band: Band) -> int:
        """The box right before a frame."""
        return max(self.inputs[band.first], default=band.first - 1)

    # -- places --------------------------------------------------------------------------------------------------

    def _place(self, lane: _Lane, used: list[float], side: int) -> None:
        """Give a lane the nearest place beside what is already in its rows."""
        sizes = [self.sizes[place] for place in lane.boxes]
        near, beyond = (
            max((size.width / 2 + (size.left if side == towards else size.right) for size in sizes), default=0)
            for towards in (1, -1)
        )
        lines = [row for row in range(lane.first, max(lane.last, lane.first) + 1) if 0 <= row < self.count]
        rows = range(self.rows[lane.boxes[0]], self.rows[lane.boxes[-1]] + 1) if lane.boxes else range(0)
        x = max([*(used[row] + LANE for row in lines), *(used[row] + LANE + near for row in rows)], default=LANE)
        for place in lane.boxes:
            self.x[place] = side * x
        if not lane.boxes:
            self.lane_x[lane.ends] = side * x
        for row in lines:
            used[row] = x + (beyond if row in rows else 0)

    def _heights(self) -> tuple[list[float], list[float], list[float]]:
        """The top, the middle and the bottom of each row; frames need room above and below."""
        before = [0.0] * (self.count + 1)
        for band in self.bands:
            before[self.rows[band.first]] += PADDING + HEADING
            before[self.rows[band.last] + 1] += PADDING
        for place, more in self.lower.items():
            before[self.rows[place]] += more
        top: list[float] = []
        middle: list[float] = []
        bottom: list[float] = []
        y = 0.0
        for row, places in enumerate(self.inner):
            y += before[row] + (GAP if row else 0)
            top.append(y)
            sizes = [self.sizes[place] for place in places]
            middle.append(y + max((size.above + size.height / 2 for size in sizes), default=0))
            y = middle[-1] + max((size.height / 2 + size.below for size in sizes), default=0)
            bottom.append(y)
        return top, middle, bottom

    def _frames(
        self, left: Sequence[float], right: Sequence[float], top: Sequence[float], bottom: Sequence[float]
    ) -> list[Rectangle]:
        """The frames; an outer one has room for the inner ones."""
        frames: dict[Band, Rectangle] = {}
        for band in sorted(self.bands, key=lambda band: -band.depth):
            rows = range(self.rows[band.first], self.rows[band.last] + 1)
            inner = [other for other in frames if band.first <= other.first and other.last <= band.last]
            begins = sum(self.rows[other.first] == rows.start for other in inner)
            ends = sum(self.rows[other.last] == rows.stop - 1 for other in inner)
            # The name is on the left of the longest path.
            x = min(-max(left[row] for row in rows), *(frames[other].x for other in inner), PADDING - band.width)
            x_right = max([*(right[row] for row in rows), *(frames[other].right for other in inner)])
            y = top[rows.start] - (PADDING + HEADING) * (1 + begins)
            y_bottom = bottom[rows.stop - 1] + PADDING * (1 + ends)
            frames[band] = Rectangle(x - PADDING, y, x_right - x + 2 * PADDING, y_bottom - y)
        return [frames[band] for band in self.bands]

    # -- lines ---------------------------------------------------------------------------------------------------

    def _edge(self, source: int, target: int, top: Sequence[float]) -> Edge:
        one, other = self.boxes[source], self.boxes[target]
        start, end = one.y + one.height / 2, other.y - other.height / 2
        lane = self.lane_x.get((source, target))
        if lane is not None:
            # Within a frame, the line leaves the main path below the frame's border.
            branch = max(top[self.rows[source] + 1] - BRANCH, start + 4)
            return Edge(source, target, ((one.x, branch), (lane, branch), *self._landing(lane, target, top)), True)
        if abs(one.x - other.x) < 0.5:
            return Edge(source, target, ((one.x, start), (other.x, end)), False)
        if (source, target) in self.entries:
            branch = max(top[self.rows[source] + 1] - BRANCH, start + 4)
            return Edge(source, target, ((one.x, branch), (other.x, branch), (other.x, end)), False)
        return Edge(source, target, ((one.x, start), *self._landing(one.x, target, top)), False)

    def _landing(self, x: float, target: int, top: Sequence[float]) -> tuple[tuple[float, float], ...]:
        """The last corners of a line that comes down beside a box: at its side, or at its top if others are between."""
        box, row = self.boxes[target], self.rows[target]
        side = 1 if x > box.x else -1
        between = (self.boxes[place].x for place in self.inner[row] if place != target)
        if any(min(x, box.x) < other < max(x, box.x) for other in between):
            gap, landing = top[row] - GAP + ABOVE, box.x + side * BESIDE
            return (x, gap), (landing, gap), (landing, box.y - box.height / 2)
        return (x, box.y), (box.x + side * box.width / 2, box.y)
