"""Does the alarm ring? Every mutation is compared with a right backend, and what is heard is written to the docs.

What a run finds is kept in ``mutations.json``, a mutation at a time, so that some can be run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest

from resnet_spec import Graph, ParityReport
from resnet_spec.parity.compare import Comparison, comparing, loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.report import Difference, Finding
from tests.lab.mutated import VARIABLE
from tests.lab.mutations import MUTATIONS, Mutation, Rows
from tests.third_party import distribution, on_path

ROOT = Path(__file__).parents[2]
SPECS = Path(__file__).with_name("specs")
RESULTS = Path(__file__).with_name("mutations.json")
TABLE = ROOT / "docs" / "mutations.md"
STEPS = 3
"""Training steps, enough for a momentum to have a past."""

ALONE = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""One thread a process: networks as small as these are done before a second one has begun."""

CLASSES = {
    "torch": "tests.lab.mutated_torch:MutatedTorch",
    "tensorflow": "tests.lab.mutated_tensorflow:MutatedTensorFlow",
}
REFERENCES = {"torch": "tensorflow", "tensorflow": "torch"}
"""The right backend that a wrong one is compared with, by the framework of the wrong one."""


@dataclass(frozen=True)
class Verdict:
    """What a comparison heard of a mutation."""

    mutation: Mutation
    report: ParityReport

    @cached_property
    def alarms(self) -> list[Difference]:
        """The differences beyond their bounds, without a bisection."""
        return [difference for difference in self.report.differences if not difference.passed]

    @property
    def loudest(self) -> Difference | None:
        """The difference furthest beyond its bound."""
        return max(
            self.alarms, key=lambda item: item.relative / item.bound if item.bound else item.relative, default=None
        )

    @property
    def caught(self) -> bool:
        """Whether what must catch it did, and nothing that should not."""
        rows = self.mutation.rows
        logits = {alarm.dtype for alarm in self.alarms if alarm.quantity == "logits"}
        match rows:
            case "inference":
                return "float64" in logits
            case "float32":
                return logits == {"float32"}
            case "training":
                return bool(self.alarms) and not logits
            case "bisection":
                return not self.alarms and not self.report.passed
            case "none":
                return self.report.passed

    @property
    def first(self) -> Finding | None:
        """Where a bisection says to look."""
        return next(iter(self.report.findings), None)

    @property
    def located(self) -> bool:
        """Whether the first finding is the node that is wrong; where no node is, whether there is no finding."""
        return (self.first.node if self.first else "") == self.mutation.at

    @property
    def named(self) -> bool:
        """Whether the cause is among those named; where none can be, whether none is."""
        causes = self.first.causes if self.first else ()
        return any(self.mutation.cause in cause for cause in causes) if self.mutation.cause else not causes


@contextmanager
def listening(references: Mapping[str, str]) -> Generator[dict[str, Callable[[Mutation], Verdict]]]:
    """For each framework, what compares a mutation of it with a right backend; its processes are started once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        stack.enter_context(_registered(folder))
        yield {wrong: _listener(wrong, right, folder, stack) for wrong, right in references.items()}


def _listener(wrong: str, right: str, folder: Path, stack: ExitStack) -> Callable[[Mutation], Verdict]:
    wanted = folder / "mutation"
    wanted.write_text("")
    comparison = stack.enter_context(comparing((right, f"mutated_{wrong}")))
    made: dict[tuple[str, int | None], tuple[Graph, Any]] = {}

    def listen(mutation: Mutation) -> Verdict:
        key = mutation.spec, mutation.size
        if key not in made:
            made[key] = _prepared(comparison, mutation, folder)
        wanted.write_text(mutation.name)
        # Each of the two takes as long as all the rest.
        steps = STEPS if mutation.rows in ("training", "none") else None
        report = comparison.compare(*made[key], bisect=mutation.rows != "training", training_steps=steps)
        return Verdict(mutation, report)

    return listen


def _prepared(comparison: Comparison, mutation: Mutation, folder: Path) -> tuple[Graph, Any]:
    size = (mutation.size, mutation.size) if mutation.size else None
    first = comparison._processes[0]
    path = SPECS / f"{mutation.spec}.yaml"
    return prepared(first, Scratch(folder), loaded_spec(path, None, size), None, 0, lambda step: None)


@contextmanager
def _registered(folder: Path) -> Generator[None]:
    """The wrong backends as a third party would provide them, on the path of this process and of its workers."""
    distribution(folder, "mutated", {f"mutated_{framework}": value for framework, value in CLASSES.items()})
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, folder, ROOT)
        for name, value in {VARIABLE: str(folder / "mutation"), **ALONE}.items():
            patch.setenv(name, value)
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the mutations whose names match a pattern, and write the table anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args(arguments).pattern
    for framework, reference in REFERENCES.items():
        own = [m for name, m in MUTATIONS.items() if m.backend == framework and fnmatchcase(name, pattern)]
        if not own:
            continue
        with listening({framework: reference}) as listeners:
            for mutation in own:
                verdict = listeners[framework](mutation)
                print(line(verdict), flush=True)
                _keep(verdict)
    results = _kept()
    missing = MUTATIONS.keys() - results.keys()
    if missing:
        sys.exit(f"not run yet, so that no table is written: {', '.join(sorted(missing))}")
    TABLE.write_text(document([results[name] for name in MUTATIONS]))


def _kept() -> dict[str, dict[str, Any]]:
    """What was heard of each mutation that there still is."""
    kept: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: kept[name] for name in MUTATIONS if name in kept}


def _keep(verdict: Verdict) -> None:
    results = _kept() | {verdict.mutation.name: row(verdict)}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def line(verdict: Verdict) -> str:
    """A verdict as a line for a person."""
    heard = {"caught": verdict.caught, "located": verdict.located, "named": verdict.named}
    missed = [word for word, right in heard.items() if not right]
    first = verdict.first
    found = f"{first.node}: {'; '.join(first.causes)}" if first else ""
    return " | ".join([" ".join(["not", *missed] if missed else ["ok"]), verdict.mutation.name, found])


# ---------------------------------------------------------------------------------------------------------------
# The document


def row(verdict: Verdict) -> dict[str, Any]:
    """What the document says of a mutation."""
    mutation, first = verdict.mutation, verdict.first
    size = f" at {mutation.size} px" if mutation.size else ""
    return {
        "pitfall": mutation.pitfall,
        "rows": mutation.rows,
        "applied to": f"{mutation.backend}, {mutation.spec}{size}",
        "caught by": _caught_by(verdict),
        "located at": first.node if first else "",
        "named as": first.causes if first else (),
        "caught": verdict.caught,
        "located": verdict.located,
        "named": verdict.named,
    }


def document(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of what was caught, located and named, between what it means and what it does not."""
    rows = [f"| {' | '.join([name, *cells(result)])} |" for name, result in zip(MUTATIONS, results, strict=True)]
    return HEAD + "\n".join(rows) + "\n\n" + counts(results) + FOOT


def cells(result: Mapping[str, Any]) -> list[str]:
    """One row of the table, without the name."""
    node = f"`{result['located at']}`" if result["located at"] else ""
    # Two brackets in a row begin a link elsewhere.
    causes = "; ".join(result["named as"]).replace("[[", "[ [").replace("]]", "] ]")
    return [str(result["pitfall"] or ""), result["applied to"], result["caught by"], node, causes]


def _caught_by(verdict: Verdict) -> str:
    alarm = verdict.loudest
    if alarm is None:
        first = verdict.first
        return "the bisection only" if first else "nothing"
    times = alarm.relative / alarm.bound if alarm.bound else float("inf")
    subject = f" ({alarm.subject})" if alarm.subject else ""
    return f"{alarm.dtype} {alarm.quantity}{subject}, {times:.1e} times the bound"


def counts(results: Sequence[Mapping[str, Any]]) -> str:
    """How many were caught, located and named."""
    by_rows = {rows: [result for result in results if result["rows"] == rows] for rows in get_args(Rows)}
    hidden, silent = by_rows["bisection"], by_rows["none"]
    heard = [*by_rows["inference"], *by_rows["float32"], *by_rows["training"]]
    placed = [result for result in results if result["rows"] in ("inference", "float32", "bisection")]
    offered = [result for result in placed if result["named as"]]
    alone = [result for result in offered if len(result["named as"]) == 1]

    def how_many(found: Sequence[Mapping[str, Any]], word: str) -> str:
        return f"{sum(result[word] for result in found)} of {len(found)}"

    return f"""\
- {how_many(heard, "caught")} are detected without a bisection: {len(by_rows["inference"])} in inference,
  {len(by_rows["float32"])} in float32 only, {len(by_rows["training"])} in training.
- {how_many(hidden, "caught")} are detected by the bisection only.
- {how_many(placed, "located")} that affect one node are located there.
- A cause is named for {len(offered)} of those; it includes the right one for {how_many(offered, "named")},
  and is the only one for {len(alone)}.
- {how_many(silent, "caught")} that change nothing that is compared are reported as equal.
"""


HEAD = """\
# Mutation tests

Each row is a mistake that is introduced into one backend, whose results are then compared with a correct backend in the
other framework. `python -m tests.lab.mutations` runs all of them, or those whose names match a pattern, and writes this
page.

A mutation changes the graph or the arrays that one backend receives, the layers that it creates, or its optimizer
([tests/lab/mutations.py](../tests/lab/mutations.py)). The networks are small, most of them shipped specs with fewer
channels ([tests/lab/specs](../tests/lab/specs)).

- *pitfall*: the number of the known pitfall: 1 tolerances, 2 `same` padding, 3 position of the stride, 4 batch
  normalization, 5 transposed convolutions, 6 padding of pools, 7 reduced precision, 8 misplaced weights, 9 layouts, 11
  heads and inputs, 18 gradients.
- *caught by*: the difference that exceeds its bound most, without a bisection.
- *located at*: the first node that `--bisect` reports.
- *named as*: the confirmed causes, which are the changes with which the reference computes the result of the wrong
  backend. Several causes give the same result for these inputs.

| mutation | pitfall | applied to | caught by | located at | named as |
|---|---|---|---|---|---|
"""

FOOT = """
## Undetected mutations

The last rows are undetected or detected only by a bisection:

- The mutated network computes the same function: TensorFlow's `same` at a size where it pads both sides equally, or
  zeros instead of minus infinity before a pool whose input is an activation. What is detected depends on the size and
  the layer, so compare odd and even sizes.
- The rest of the network cancels the difference, which only a bisection detects: a factor before a normalization,
  except for its epsilon; and zeros instead of minus infinity before a pool of signed values, if a normalization with a
  positive scale and an activation follow, as in every pre-activation network: the difference is below the mean and
  becomes 0.
- The quantity is not compared: the rates of dropout and of stochastic depth, which are disabled in a comparison of
  training, and the gradient of a bias that a normalization cancels, which is noise.

Mistakes in training are detected, but not located: a gradient that is wrong at one layer is wrong at all layers before
it. A cause is named only if it is one of the hypotheses; a kernel that is off by one part in ten million is located
without a cause. If a backend is wrong in many places, the first eight nodes are explained. A mistake that both backends
make is undetected.
"""
