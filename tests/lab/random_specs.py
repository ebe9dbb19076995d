"""Random specs held to the language's promise: each is refused at a place, or two backends agree on it in float64.

``python -m tests.lab.random_specs --count 10000 --seed 1`` goes on where it last stopped, a chunk after the other. What
it finds is a record, ``random_specs.json``, and docs/random-specs.md is written from it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import gettempdir

from hypothesis import HealthCheck, Phase, given, seed, settings

from resnet_spec.document.dump import to_yaml
from resnet_spec.parity.rounding import STRUCTURE
from tests.lab.random_specs_judging import Lab, Outcome
from tests.lab.random_specs_strategy import Data, specs

CHUNK = 500
"""Specs that one pair of processes compares: TensorFlow's grows with every model."""

RECORD = Path(__file__).with_suffix(".json")
REGRESSIONS = Path(__file__).with_name("regressions")
DOCUMENT = Path(__file__).parents[2] / "docs" / "random-specs.md"
FAILURES = Path(gettempdir()) / "resnet-spec-random-specs"


@dataclass
class Record:
    """What the specs so far have come to."""

    seed: int
    drawn: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    reasons: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    largest: float = 0.0
    operations: dict[str, int] = field(default_factory=dict[str, int])
    failures: list[str] = field(default_factory=list[str])

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.drawn += 1
        self.kinds[outcome.kind] = self.kinds.get(outcome.kind, 0) + 1
        if outcome.reason and outcome.kind != "failed":
            reasons = self.reasons.setdefault(outcome.kind, {})
            reasons[outcome.reason] = reasons.get(outcome.reason, 0) + 1
        if outcome.kind == "agreed":
            self.largest = max(self.largest, outcome.largest)
        for operation in outcome.operations:
            self.operations[operation] = self.operations.get(operation, 0) + 1


def drawn(number: int) -> str:
    """The text of one spec, which follows from its number alone."""
    texts: list[str] = []

    # A seed for each: within a run Hypothesis varies what it has drawn, and a third of it is drawn twice.
    @seed(number)
    @settings(
        max_examples=2,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(specs())
    def each(data: Data) -> None:
        texts.append(to_yaml(data))

    each()
    # The first is the simplest there is, whatever the seed.
    return texts[-1]


def run_chunk(record: Record, count: int) -> None:
    """Draw and judge so many specs more; one that fails is left in a file."""
    begun = time.monotonic()
    with Lab() as lab:
        for number in range(record.drawn, record.drawn + count):
            text = drawn(record.seed * 10**6 + number)
            outcome = lab.judge(text)
            record.add(outcome)
            if outcome.kind == "failed":
                FAILURES.mkdir(exist_ok=True)
                path = FAILURES / f"{record.seed}-{number}.yaml"
                path.write_text(f"# {' '.join(outcome.reason.split())}\n{text}")
                record.failures.append(f"{number}: {outcome.reason}")
                print(path, outcome.reason, flush=True)
    record.seconds += time.monotonic() - begun


# ---------------------------------------------------------------------------------------------------------------
# The document


def document(record: Record) -> str:
    """The record as a document, with what the regression specs say of the failures that were mended."""
    lines = [
        "# Random specs",
        "",
        f"Made by `python -m tests.lab.random_specs --count {record.drawn} --seed {record.seed}`; do not edit.",
        "",
        ABOUT,
        "",
        "| | specs |",
        "|---|---|",
        f"| drawn, each from a seed of its own | {record.drawn:,} |",
        *(f"| {words} | {record.kinds.get(kind, 0):,} |" for kind, words in KINDS.items()),
        "",
        f"The largest difference of a spec that agrees is {record.largest:.1e}. The run took"
        f" {record.seconds / 60:.0f} minutes.",
        *_reasons(record),
        "",
        "## What agrees",
        "",
        "Networks that agree, by the operations in them.",
        "",
        "| operation | networks |",
        "|---|---|",
        *(f"| `{name}` | {count:,} |" for name, count in sorted(record.operations.items())),
        "",
        "## Found and mended",
        "",
        "What such runs have found is kept in its smallest form in tests/lab/regressions, and compared at each change.",
        "",
        "| spec | what was wrong |",
        "|---|---|",
        *(f"| `{path.stem}` | {_story(path)} |" for path in sorted(REGRESSIONS.glob("**/*.yaml"))),
    ]
    return "\n".join(lines) + "\n"


ABOUT = f"""\
A Hypothesis strategy draws specs over the whole language: blocks of their own and shipped ones, slots, stems, strides,
dilation, groups, normalizations, gates, transposed convolutions, pools and paddings of every kind, layers called again,
odd sizes, vectors, several outputs. Most are whole, some are spoilt. Each is refused with an error that has a place, or
compiled in PyTorch and TensorFlow under random weights and compared in float64: every output, the loss of a batch in
training mode, the gradient of each parameter and of the input, and the running statistics after it. Half of the specs
are compiled with exact statistics, the others with the frameworks' own layers.

All must be within {STRUCTURE:.0e} of the reference's own size: of an output's standard deviation (or its root mean
square, where its values are one but for rounding), of the largest norm of a parameter's gradient, of the loss, of the
root mean square of the values that a mean is taken of and of their mean square for a variance. A difference beyond that
is a failure, unless the reference's own (for a gradient: any of its gradients) moves half as far when its parameters
and images are moved at random by what float64 may round them: such a network is counted as not judged."""

KINDS = {
    "refused": "refused by the core, each mistake with its place",
    "inexpressible": "refused by a backend that cannot express a node, which it names",
    "too large": "not run: too large",
    "not finite": "not judged: the reference itself is not finite",
    "ill-conditioned": "not judged: rounding moves the reference itself that far",
    "agreed": "compared, and agree",
    "failed": "compared, and differ, or fail",
}
"""What may become of a spec, in the document's words."""

SELDOM = 3
"""Reasons that fewer specs have are counted together."""


def _reasons(record: Record) -> list[str]:
    lines: list[str] = []
    for kind in ("refused", "inexpressible"):
        counts = record.reasons.get(kind, {})
        often = {reason: count for reason, count in counts.items() if count >= SELDOM}
        seldom = [count for count in counts.values() if count < SELDOM]
        lines += ["", f"## {kind.capitalize()}, by the first reason", "", "| specs | reason |", "|---|---|"]
        for reason, count in sorted(often.items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"| {count:,} | {_escaped(reason)} |")
        if seldom:
            lines.append(f"| {sum(seldom):,} | {len(seldom)} other reasons |")
    return lines


def _escaped(text: str) -> str:
    return re.sub(r"([|*_<>{}\[\]])", r"\\\1", " ".join(text.split()))


def _story(path: Path) -> str:
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    return _escaped(" ".join(line.lstrip("# ") for line in comments))


def main(arguments: list[str] | None = None) -> None:
    """Go on until so many specs are drawn, and write the record and the document after each chunk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    record = Record(wanted.seed)
    if RECORD.exists() and (kept := json.loads(RECORD.read_text()))["seed"] == wanted.seed:
        record = Record(**kept)
    while record.drawn < wanted.count:
        run_chunk(record, min(CHUNK, wanted.count - record.drawn))
        RECORD.write_text(json.dumps(asdict(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        print(record.drawn, record.kinds, f"{record.seconds:.0f} s", flush=True)
    DOCUMENT.write_text(document(record))


if __name__ == "__main__":
    main()
