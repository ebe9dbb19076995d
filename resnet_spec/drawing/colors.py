"""The colors of drawings, light and dark: kinds of parts, a scale, marks; text is legible on all of them."""

from __future__ import annotations

from typing import NamedTuple


class Theme(NamedTuple):
    """The colors of text and lines, of small text, of the page, and of frames."""

    ink: str
    soft: str
    paper: str
    frame: str


THEMES = (Theme("#1b1f24", "#59636e", "#ffffff", "#f6f8fa"), Theme("#e6edf3", "#9aa5b1", "#161b22", "#1c222b"))
"""Light and dark, as all pairs below."""

KIND_COLORS = {
    "conv": ("#fde3c0", "#6b4a1c"), "block": ("#d5e4f7", "#28476e"), "down": ("#b3cdee", "#1d5a9c"),
    "linear": ("#e3d6f2", "#553a78"), "pool": ("#cfe9d2", "#2b5e35"), "norm": ("#f7f3c8", "#5c561c"),
    "act": ("#f8d9dc", "#71323b"), "join": ("#ffffff", "#3a3f47"), "other": ("#ececec", "#43474d"),
}  # fmt: skip
"""The color of each kind."""

SCALE = (
    ("#f7f9fc", "#22272e"), ("#deebf7", "#1e3145"), ("#c0d9ee", "#1c3c58"), ("#9dc6e4", "#1a486d"),
    ("#74b0da", "#185583"), ("#4a96ce", "#1b659d"),
)  # fmt: skip
"""From little to much."""

BEYOND = ("#f2a08e", "#a33a24")

WORDS = {"added": "+", "removed": "−", "changed": "~"}
"""The signs of marks that are words; others have a dot."""

MARKS = {"added": ("#1a7f37", "#3fb950"), "removed": ("#cf222e", "#f85149"), "changed": ("#9a6700", "#d29922")}

_FIXED = """
text{font:12px Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif;text-anchor:start}
text.small{font-size:10.5px}
text.bold{font-weight:bold}
.middle{text-anchor:middle}
.end{text-anchor:end}
.line{fill:none;stroke-width:1.2}
.box{stroke-width:1}
.k-down{stroke-width:2}
.frame{stroke-width:.7}
.dashed{stroke-dasharray:4 3}
.marked{fill:none;stroke-width:2.5}
"""


def style() -> str:
    """The style sheet of a drawing; what prints is light."""
    fixed = "".join(f".net-drawing {rule}" for rule in _FIXED.strip().splitlines())
    return f"{fixed}{_themed(0)}@media screen and (prefers-color-scheme:dark){{{_themed(1)}}}"


def _themed(side: int) -> str:
    ink, soft, paper, frame = THEMES[side]
    rules = {
        "text": f"fill:{ink}", ".soft": f"fill:{soft}", ".paper": f"fill:{paper}", ".head": f"fill:{ink}",
        ".frame": f"fill:{frame};stroke:{soft}", ".box": f"stroke:{ink}", ".line": f"stroke:{ink}",
        **{f".k-{kind}": f"fill:{pair[side]}" for kind, pair in KIND_COLORS.items()},
        **{f".s-{step}": f"fill:{pair[side]}" for step, pair in enumerate(SCALE)},
        ".beyond": f"fill:{BEYOND[side]}",
        **{f".m-{word}": f"stroke:{pair[side]}" for word, pair in MARKS.items()},
        **{f"text.t-{word}": f"fill:{pair[side]}" for word, pair in MARKS.items()},
    }  # fmt: skip
    return "".join(f".net-drawing {name}{{{rule}}}" for name, rule in rules.items())
