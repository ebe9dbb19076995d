"""Mutation tests: compare each mutated backend with a correct one, and write which mutations are detected to the docs.

Results are kept in ``mutations.json``, which is written after each mutation, so that single mutations can run again.
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
from tests.lab.mutations import MUTATIONS, Expected, Mutation
from tests.third_party import distribution, on_path

ROOT = Path(__file__).parents[2]
SPECS = Path(__file__).with_name("specs")
RESULTS = Path(__file__).with_name("mutations.json")
TABLE = ROOT / "docs" / "mutations.md"
STEPS = 3
"""Training steps; a momentum has an effect from the second on."""

SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""One thread a process, which is faster for networks as small as these."""

CLASSES = {
    "torch": "tests.lab.mutated_torch:MutatedTorch",
    "tensorflow": "tests.lab.mutated_tensorflow:MutatedTensorFlow",
}
REFERENCES = {"torch": "tensorflow", "tensorflow": "torch"}
"""The correct backend that a mutated one is compared with, by the framework of the mutated one."""


@dataclass(frozen=True)
class Verdict:
    """The comparison of one mutation."""

    mutation: Mutation
    report: ParityReport

    @cached_property
    def failures(self) -> list[Difference]:
        """The differences beyond their bounds, without a bisection."""
        return [difference for difference in self.report.differences if not difference.passed]

    @property
    def largest(self) -> Difference | None:
        """The difference furthest beyond its bound."""
        return max(
            self.failures, key=lambda item: item.relative / item.bound if item.bound else item.relative, default=None
        )

    @property
    def detected(self) -> bool:
        """Whether exactly the expected comparison detects the mutation."""
        logits = {failure.dtype for failure in self.failures if failure.quantity == "logits"}
        match self.mutation.expected:
            case "inference":
                return "float64" in logits
            case "float32":
                return logits == {"float32"}
            case "training":
                return bool(self.failures) and not logits
            case "bisection":
                return not self.failures and not self.report.passed
            case "none":
                return self.report.passed

    @property
    def first(self) -> Finding | None:
        """The first finding of the bisection."""
        return next(iter(self.report.findings), None)

    @property
    def located(self) -> bool:
        """Whether the first finding is at the mutated node; if no node is, whether there is no finding."""
        return (self.first.node if self.first else "") == self.mutation.at

    @property
    def explained(self) -> bool:
        """Whether the right cause is among the confirmed ones; if there is none, whether none is confirmed."""
        causes = self.first.causes if self.first else ()
        return any(self.mutation.cause in cause for cause in causes) if self.mutation.cause else not causes


@contextmanager
def comparing_mutations(references: Mapping[str, str]) -> Generator[dict[str, Callable[[Mutation], Verdict]]]:
    """Yield, for each framework, a function that compares a mutation of it; processes are started once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        stack.enter_context(registered(folder))
        yield {mutated: _comparer(mutated, reference, folder, stack) for mutated, reference in references.items()}


def _comparer(mutated: str, reference: str, folder: Path, stack: ExitStack) -> Callable[[Mutation], Verdict]:
    wanted = folder / "mutation"
    wanted.write_text("")
    comparison = stack.enter_context(comparing((reference, f"mutated_{mutated}")))
    made: dict[tuple[str, int | None], tuple[Graph, Any]] = {}

    def run(mutation: Mutation) -> Verdict:
        key = mutation.spec, mutation.size
        if key not in made:
            made[key] = _prepared(comparison, mutation, folder)
        wanted.write_text(mutation.name)
        # Training and bisection each take as long as everything else.
        steps = STEPS if mutation.expected in ("training", "none") else None
        report = comparison.compare(*made[key], bisect=mutation.expected != "training", training_steps=steps)
        return Verdict(mutation, report)

    return run


def _prepared(comparison: Comparison, mutation: Mutation, folder: Path) -> tuple[Graph, Any]:
    size = (mutation.size, mutation.size) if mutation.size else None
    first = comparison._processes[0]
    path = SPECS / f"{mutation.spec}.yaml"
    return prepared(first, Scratch(folder), loaded_spec(path, None, size), None, 0, lambda step: None)


@contextmanager
def registered(folder: Path) -> Generator[None]:
    """Register the mutated backends as third-party backends, for this process and its workers."""
    distribution(folder, "mutated", {f"mutated_{framework}": value for framework, value in CLASSES.items()})
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, folder, ROOT)
        for name, value in {VARIABLE: str(folder / "mutation"), **SINGLE_THREAD}.items():
            patch.setenv(name, value)
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the mutations whose names match a pattern, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args(arguments).pattern
    for framework, reference in REFERENCES.items():
        own = [m for name, m in MUTATIONS.items() if m.backend == framework and fnmatchcase(name, pattern)]
        if not own:
            continue
        with comparing_mutations({framework: reference}) as comparers:
            for mutation in own:
                verdict = comparers[framework](mutation)
                print(line(verdict), flush=True)
                _keep(verdict)
    results = _kept()
    missing = MUTATIONS.keys() - results.keys()
    if missing:
        sys.exit(f"the table is not written, since some mutations have not run: {', '.join(sorted(missing))}")
    TABLE.write_text(document([results[name] for name in MUTATIONS]))


def _kept() -> dict[str, dict[str, Any]]:
    """Return the recorded results of the existing mutations."""
    kept: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: kept[name] for name in MUTATIONS if name in kept}


def _keep(verdict: Verdict) -> None:
    results = _kept() | {verdict.mutation.name: row(verdict)}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def line(verdict: Verdict) -> str:
    """Return a verdict as a line of text."""
    outcomes = {"detected": verdict.detected, "located": verdict.located, "explained": verdict.explained}
    missed = [word for word, reference in outcomes.items() if not reference]
    first = verdict.first
    found = f"{first.node}: {'; '.join(first.causes)}" if first else ""
    return " | ".join([" ".join(["not", *missed] if missed else ["ok"]), verdict.mutation.name, found])


# ---------------------------------------------------------------------------------------------------------------
# The document


def row(verdict: Verdict) -> dict[str, Any]:
    """Return the result of a mutation as data."""
    mutation, first = verdict.mutation, verdict.first
    size = f" at {mutation.size} px" if mutation.size else ""
    return {
        "pitfall": mutation.pitfall,
        "expected": mutation.expected,
        "applied to": f"{mutation.backend}, {mutation.spec}{size}",
        "detected by": _detected_by(verdict),
        "located at": first.node if first else "",
        "confirmed causes": first.causes if first else (),
        "detected": verdict.detected,
        "located": verdict.located,
        "explained": verdict.explained,
    }


def document(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page: the table of results between its explanations."""
    rows = [f"| {' | '.join([name, *cells(result)])} |" for name, result in zip(MUTATIONS, results, strict=True)]
    return HEAD + "\n".join(rows) + "\n\n" + counts(results) + FOOT


def cells(result: Mapping[str, Any]) -> list[str]:
    """Return a row of the table, without the name."""
    node = f"`{result['located at']}`" if result["located at"] else ""
    # "[[" begins a link in some dialects of Markdown.
    causes = "; ".join(result["confirmed causes"]).replace("[[", "[ [").replace("]]", "] ]")
    return [str(result["pitfall"] or ""), result["applied to"], result["detected by"], node, causes]


def _detected_by(verdict: Verdict) -> str:
    failure = verdict.largest
    if failure is None:
        first = verdict.first
        return "the bisection only" if first else "nothing"
    times = failure.relative / failure.bound if failure.bound else float("inf")
    subject = f" ({failure.subject})" if failure.subject else ""
    return f"{failure.dtype} {failure.quantity}{subject}, {times:.1e} times the bound"


def counts(results: Sequence[Mapping[str, Any]]) -> str:
    """Return how many mutations were detected, located and explained."""
    by_expected = {kind: [result for result in results if result["expected"] == kind] for kind in get_args(Expected)}
    by_bisection, unchanged = by_expected["bisection"], by_expected["none"]
    outcomes = [*by_expected["inference"], *by_expected["float32"], *by_expected["training"]]
    locatable = [result for result in results if result["expected"] in ("inference", "float32", "bisection")]
    explained = [result for result in locatable if result["confirmed causes"]]
    unique = [result for result in explained if len(result["confirmed causes"]) == 1]

    def how_many(found: Sequence[Mapping[str, Any]], word: str) -> str:
        return f"{sum(result[word] for result in found)} of {len(found)}"

    return f"""\
- {how_many(outcomes, "detected")} are detected without a bisection: {len(by_expected["inference"])} in inference,
  {len(by_expected["float32"])} in float32 only, {len(by_expected["training"])} in training.
- {how_many(by_bisection, "detected")} are detected by the bisection only.
- {how_many(locatable, "located")} that affect one node are located there.
- A cause is confirmed for {len(explained)} of those; it includes the right one for {how_many(explained, "explained")},
  and is the only one for {len(unique)}.
- {how_many(unchanged, "detected")} that change nothing that is compared are reported as equal.
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
- *detected by*: the difference that exceeds its bound most, without a bisection.
- *located at*: the first node that `--bisect` reports.
- *confirmed causes*: the changes with which the reference computes the result of the mutated
  backend. Several causes give the same result for these inputs.

| mutation | pitfall | applied to | detected by | located at | confirmed causes |
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
it. A cause is confirmed only if it is one of the hypotheses; a kernel that is off by one part in ten million is located
without a cause. If a backend is wrong in many places, the first eight nodes are explained. A mistake that both backends
make is undetected.
"""
