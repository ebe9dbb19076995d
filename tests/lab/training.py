"""``python -m tests.lab.training``: train correct backends, and write their differences with the bounds to the docs.

What a run finds is kept in ``training.json``, a network at a time, so that it can be interrupted; networks whose
architecture has changed since are done again, and with ``--again`` all. The table of docs/training-parity.md, after its
text, is written from it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any, NamedTuple

import resnet_spec
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
    """Run the networks without a current result, and write the table."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and "--again" not in sys.argv else {}
    # One thread is fastest for networks this small.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    todo = [part for part in PARTS if results.get(part.spec, {}).get("fingerprint") != fingerprint(part)]
    if todo:
        with started(["torch", "tensorflow"]) as processes, TemporaryDirectory() as folder:
            files = Scratch(Path(folder))
            comparison = TrainingComparison(processes, files, lambda step: None)
            for part in todo:
                spec = loaded_spec(source(part), part.overrides, size(part))
                graph, arrays = prepared(processes[0], files, spec, None, 0, lambda step: None)
                found = comparison.run(graph, arrays, plan=PLAN)
                rows = [difference.to_dict() for difference in found]
                results[part.spec] = {"fingerprint": fingerprint(part), "rows": rows}
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
                print(part.spec, "agrees" if all(row["passed"] for row in rows) else "DIFFERS", flush=True)
    before, _, after = split_document()
    DOCUMENT.write_text(before + HEADING + table(results) + after, "utf-8")


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
    rows = [row for part in PARTS for row in results[part.spec]["rows"]]
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
        cells = [cell(results[part.spec]["rows"], chosen) for chosen in COLUMNS.values()]
        name = f"tests/lab/{part.spec}" if part.spec.endswith(".yaml") else part.spec
        text += line([f"`{name}`{thin}{changed}", part.why, *cells])
    return text


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
