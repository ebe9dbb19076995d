"""``python -m tests.lab.training``: train correct backends, and write their differences with the bounds to the docs.

What a run finds is kept in ``training.json``, a network and precision at a time, so that it can be interrupted;
networks whose architecture has changed since are done again, and with ``--again`` all. The tables of
docs/training-parity.md, after its text, are written from it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any, NamedTuple, cast

import resnet_spec
from resnet_spec.backend.dtypes import ModelDType, is_half
from resnet_spec.graph import INPUT
from resnet_spec.parity.compare import at_size, loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.plan import Plan
from resnet_spec.parity.process import started
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE
from resnet_spec.parity.training import TrainingComparison

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "training-parity.md"
SPECS = Path(__file__).with_name("specs")
HEADING = "## The networks\n"

PLAN = Plan(steps=5, batch=2, seed=0)

HALF_BATCH = 4
"""Of two values in half precision, a normalization passes no gradient on but rounding."""

OVERFLOWING = {("specs/decoder.yaml", "mixed_float16")}
"""Gradients that overflow float16 in both frameworks within some steps; a scaler that adapts skips such a step."""

PRECISIONS = ("float64", "float64 ×2", "float32 ×2", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
"""What is compared: precisions, and with ×2 two replicas of each backend too, each with half the batch."""


class Part(NamedTuple):
    """A network of the catalog, thinner if that is enough, and what it covers."""

    spec: str
    why: str
    overrides: tuple[str, ...] = ()
    size: int | None = 64


def one_block_each(*stages: str) -> tuple[str, ...]:
    """Return overrides with one block in each of the first stages, and without the last stages."""
    *kept, last = stages
    return *(f"stages.{stage}.repeat=1" for stage in kept), f"stages.{last}=null"


LAYERS = one_block_each("layer1", "layer2", "layer3", "layer4")
STAGES = one_block_each("stages.0", "stages.1", "stages.2", "stages.3")
KERAS = one_block_each("conv2", "conv3", "conv4", "conv5")
BLOCKS = one_block_each("block1", "block2", "block3", "block4")

PARTS = (
    Part("torchvision/resnet18", "the plain network, complete"),
    Part("torchvision/resnext50_32x4d", "bottlenecks, grouped convolutions", LAYERS),
    Part("timm/test_resnet", "mixed blocks, complete"),
    Part("timm/ecaresnet50d", "gates by a convolution across channels", LAYERS),
    Part("timm/resnetblur50d", "blurred strides", LAYERS),
    Part("timm/resnetv2_50", "activation before convolution", STAGES),
    Part("timm/resnetv2_50x1_bit", "standardized kernels, group norms", STAGES),
    Part("timm/resnetv2_50d_evos", "EvoNorm", STAGES),
    Part("timm/resnetv2_50d_frn", "filter response norm", STAGES),
    Part("keras/resnet50", "biases before norms, biased variance", KERAS),
    Part("keras/resnet50v2", "biases before additions and norms", KERAS),
    Part("slim/resnet_v1_50", "TensorFlow's padding", BLOCKS),
    Part("msra/resnet50", "the stride in the first convolution", one_block_each("res2", "res3", "res4", "res5")),
    Part("cifar/resnet20", "shortcuts without parameters, complete", size=None),
    Part("tutorial/resnet18", "one norm called twice", one_block_each(*(f"res_block{n}" for n in range(1, 5)))),
    Part("specs/decoder.yaml", "vectors to maps, transposed convolutions, norms by position", size=None),
    Part("specs/assorted.yaml", "operations of no other network, dropout"),
    Part("specs/modern.yaml", "gates, dilation, stochastic depth"),
    Part("specs/activations.yaml", "every activation", size=None),
)


def main() -> None:
    """Run the networks without a current result, and write the tables.

    ``--precision P`` runs one precision only, and ``--seconds N`` begins no network after so many.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--precision", action="append", choices=PRECISIONS)
    parser.add_argument("--seconds", type=float, default=inf)
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.again else {}
    # One thread is fastest for networks this small.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    end = time.monotonic() + options.seconds
    for precision in options.precision or PRECISIONS:
        todo = [part for part in PARTS if precision not in current(results, part)]
        if todo and time.monotonic() < end:
            run(precision, todo, results, end)
    before, _, after = split_document()
    DOCUMENT.write_text(before + HEADING + tables(results) + after, "utf-8")


def tables(results: Mapping[str, Any]) -> str:
    """Return the results as the page has them."""
    return table(results) + lower_table(results)


def current(results: Mapping[str, Any], part: Part) -> Mapping[str, Any]:
    """Return what is recorded of a network as it is now: rows by precision."""
    found = results.get(part.spec, {})
    return found["rows"] if found.get("fingerprint") == fingerprint(part) else {}


def run(precision: str, todo: Sequence[Part], results: dict[str, Any], end: float) -> None:
    """Compare both backends in a precision; with ×2 in its name, two replicas of each too."""
    dtype, _, count = precision.partition(" ×")
    with (
        started(["torch", "tensorflow"], replicas=int(count) if count else None) as processes,
        TemporaryDirectory() as folder,
    ):
        files = Scratch(Path(folder))
        comparison = TrainingComparison(processes, files, lambda step: None)
        for part in todo:
            if time.monotonic() > end:
                return
            spec = loaded_spec(source(part), part.overrides, size(part))
            graph, arrays = prepared(processes[0], files, spec, None, 0, lambda step: None)
            computed = cast("ModelDType", dtype)
            plan = PLAN._replace(precision=computed, batch=HALF_BATCH if is_half(computed) else PLAN.batch)
            rows = [difference.to_dict() for difference in comparison.run(graph, arrays, plan=plan)]
            kept = {**current(results, part), precision: rows}
            results[part.spec] = {"fingerprint": fingerprint(part), "rows": kept}
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            passed = all(row["passed"] for row in rows)
            print(part.spec, precision, "agrees" if passed else "DIFFERS", flush=True)


def split_document() -> tuple[str, str, str]:
    """Return the page before the heading of the results, the results, and the sections that follow them."""
    before, _, section = DOCUMENT.read_text("utf-8").partition(HEADING)
    results, heading, after = section.partition("\n## ")
    return before, results, heading + after


def source(part: Part) -> str:
    return str(SPECS.parent / part.spec) if part.spec.endswith(".yaml") else part.spec


def size(part: Part) -> tuple[int, int] | None:
    return (part.size, part.size) if part.size else None


def fingerprint(part: Part) -> str:
    return resnet_spec.load(source(part), at_size(part.overrides, size(part))).to_graph().fingerprint


COLUMNS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "first loss": lambda row: row["subject"] == "first loss",
    "gradients": lambda row: row["quantity"] == "gradients" and row["subject"] != INPUT,
    "of the input": lambda row: row["quantity"] == "gradients" and row["subject"] == INPUT,
    "statistics": lambda row: row["quantity"] == "statistics" and not row["subject"].endswith("exact"),
    "exact": lambda row: row["quantity"] == "statistics" and row["subject"].endswith("exact"),
    "losses by SGD": lambda row: row["quantity"] == "losses" and row["subject"].endswith("sgd"),
    "weights by SGD": lambda row: row["quantity"] == "weights" and row["subject"].endswith("sgd"),
    "losses by AdamW": lambda row: row["quantity"] == "losses" and row["subject"].endswith("adamw"),
    "weights by AdamW": lambda row: row["quantity"] == "weights" and row["subject"].endswith("adamw"),
}


def table(results: Mapping[str, Any]) -> str:
    """Return the page's table of results, and the shares of the bounds that they use."""
    rows = [row for part in PARTS for row in current(results, part).get("float64", [])]
    trained = [row["relative"] / row["bound"] for row in rows if row["bound"] != RELATIVE_TOLERANCE]
    fixed = max(row["relative"] for row in rows if row["bound"] == RELATIVE_TOLERANCE)
    passed = sum(row["passed"] for row in rows)
    prose = (
        f"{len(PARTS)} networks, {PLAN.steps} steps, {PLAN.batch} images per batch. A difference without a bound beside"
        f" it has the bound {RELATIVE_TOLERANCE:.0e}; the largest of these is {fixed:.0e}."
        f" {passed} of {len(rows)} differences are within their bounds. Computed bounds are used by at most"
        f" {max(trained):.0%}, in the median by {median(trained):.1%}: they allow for rounding errors of"
        " one sign, which is rare."
    )
    text = f"\n{fill(prose, 120)}\n\n"
    text += line(["network", "covers", *COLUMNS]) + line(["---"] * (len(COLUMNS) + 2))
    for part in PARTS:
        changed = f", {part.size}×{part.size}" if part.size else ""
        thin = ", thinner" if part.overrides else ""
        cells = [cell(current(results, part).get("float64", []), chosen) for chosen in COLUMNS.values()]
        text += line([f"`{called(part)}`{thin}{changed}", part.why, *cells])
    return text


def called(part: Part) -> str:
    return f"tests/lab/{part.spec}" if part.spec.endswith(".yaml") else part.spec


def lower_table(results: Mapping[str, Any]) -> str:
    """Return the table of replicas and lower precisions: the difference that uses most of its bound, of every row."""
    every = [row for part in PARTS for key in PRECISIONS[1:] for row in current(results, part).get(key, [])]
    passed = sum(row["passed"] for row in every)
    prose = (
        f"Two replicas and lower precisions: of the losses, gradients, statistics and weights of each network, the"
        f" difference that uses most of its bound. {passed} of {len(every)} differences are within their bounds. In"
        f" half precision batches have {HALF_BATCH} images. The decoder's gradients overflow float16 in both frameworks"
        " within five steps. A network without an entry has not been run."
    )
    text = f"\n{fill(prose, 120)}\n\n" + line(["network", *PRECISIONS[1:]]) + line(["---"] * len(PRECISIONS))
    for part in PARTS:
        found = [current(results, part).get(key, []) for key in PRECISIONS[1:]]
        if any(found):
            text += line([f"`{called(part)}`", *map(worst, found)])
    return text


def worst(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the row that uses most of its bound."""
    if not rows:
        return "—"
    row = max(rows, key=lambda row: (not row["passed"], row["relative"] / row["bound"] if row["passed"] else 0.0))
    verdict = "" if row["passed"] else " **differs**"
    measured = "NaN" if row["relative"] is None else f"{row['relative']:.0e}"
    return f"{row['quantity']}: {measured} of {row['bound']:.0e}{verdict}"


def cell(rows: list[dict[str, Any]], chosen: Callable[[Mapping[str, Any]], bool]) -> str:
    found = [row for row in rows if chosen(row)]
    if not found:
        return "—"
    (row,) = found
    verdict = "" if row["passed"] else " **differs**"
    bound = "" if row["bound"] == RELATIVE_TOLERANCE else f" of {row['bound']:.0e}"
    return f"{row['relative']:.0e}{bound}{verdict}" if row["relative"] else f"0{bound}"


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
