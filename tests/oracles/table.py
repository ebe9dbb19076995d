"""``python -m tests.oracles.table``: writes docs/networks.md from the specs and the records of their comparison."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import resnet_spec
from resnet_spec import summarize
from resnet_spec.cli.common import count

from .gates import GATES
from .verification import BOTH, COSTLY, NAMES, Record, recorded

PATH = Path(__file__).parents[2] / "docs" / "networks.md"

HEAD = """\
# The networks

Every shipped spec beside its original. The original was built by its library, or written from its paper in plain
PyTorch or TensorFlow where no library has it; its weights and statistics were randomized so that mistakes show; it
wrote them in the form its users have; and that file was read into both backends. An error is the largest difference of
a logit from the original's, over all images and sizes, in standard deviations of the original's float64 logits. The
limits are {double:.0e} in float64, which proves the structure, and {single:.0e} in float32, which leaves room for
rounding; the backends are held to each other within the same. (`resnet-spec parity` has a bound for each network
instead: [parity.md](parity.md).)

This file is written by `make networks` from the specs and from what the comparisons recorded; CI fails where a spec
has changed since. `make oracles` compares what has changed, `make oracles ARGUMENTS=--again` everything.

Multiply-accumulates are those of one image at the spec's own size. Sizes are batch × height × width; those in brackets
are refused by the original and by us, since two branches do not add up there. Networks of more than {costly} are
compared at two sizes, and encoders and decoders at the one that their parameters are made for. Where a comparison did
not fit into 24 GiB, a thinner copy was compared: its overrides stand beside the original.
"""

COLUMNS = (
    "name",
    "original",
    "parameters",
    "MACs",
    "torch float64",
    "float32",
    "TensorFlow float64",
    "float32",
    "files",
    "sizes",
)


def render() -> str:
    """The whole document."""
    text = HEAD.format(double=GATES["float64"], single=GATES["float32"], costly=count(COSTLY))
    names = resnet_spec.available()
    for family, members in groupby(names, key=lambda name: name.partition("/")[0]):
        text += f"\n## {family}\n\n{_row(COLUMNS)}\n{_row(['---'] * len(COLUMNS))}\n"
        text += "".join(f"{_row(_cells(name))}\n" for name in members)
    return text


def _cells(name: str) -> list[str]:
    record = recorded(name)
    if record is None:
        return [f"`{name}`", "not compared yet", *[""] * (len(COLUMNS) - 2)]
    counted = summarize(resnet_spec.load(name).to_graph())
    errors = [_error(record.errors[backend][dtype]) for backend in NAMES for dtype in ("float64", "float32")]
    sizes = " ".join([*record.sizes, *(f"({size})" for size in record.refused)])
    files = " ".join(f"`{form}`" if form.startswith(".") else form for form in record.files)
    original = record.original + (f" ({', '.join(f'`{o}`' for o in record.overrides)})" if record.overrides else "")
    return [f"`{name}`", original, f"{counted.parameters:,}", count(counted.macs), *errors, files, sizes]


def _error(error: float) -> str:
    return f"{error:.0e}" if error else "0"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def worst(record: Record) -> dict[str, float]:
    """The largest error of each dtype, of either backend and between them."""
    return {dtype: max(found[dtype] for found in record.errors.values()) for dtype in record.errors[BOTH]}


if __name__ == "__main__":
    PATH.write_text(render(), "utf-8")
