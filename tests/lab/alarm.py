"""Does the alarm ring? Every mutation is compared with a right backend, and what is heard is written to the docs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_spec import BackendError, Graph, ParityReport
from resnet_spec.comparison import Difference, Finding
from resnet_spec.parity import Comparison, comparing, prepared
from tests.lab.mutated import VARIABLE
from tests.lab.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
SPECS = Path(__file__).with_name("specs")
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
        return max(self.alarms, key=lambda item: item.relative / item.bound if item.bound else item.relative, default=None)

    @property
    def caught(self) -> bool:
        """Whether the rows that must catch it did, and in float32's case no others."""
        rows = self.mutation.rows
        if rows == "training":
            return any(alarm.quantity != "logits" for alarm in self.alarms)
        dtypes = {alarm.dtype for alarm in self.alarms if alarm.quantity == "logits"}
        return dtypes == {"float32"} if rows == "float32" else "float64" in dtypes

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
def listening(frameworks: Iterable[str]) -> Generator[dict[str, Callable[[Mutation], Verdict]]]:
    """For each framework, what runs a mutation of it; its processes are started once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        stack.enter_context(_registered(folder))
        yield {framework: _listener(framework, folder, stack) for framework in frameworks}


def _listener(framework: str, folder: Path, stack: ExitStack) -> Callable[[Mutation], Verdict]:
    wanted = folder / "mutation"
    wanted.write_text("")
    comparison = stack.enter_context(comparing((REFERENCES[framework], f"mutated_{framework}")))
    made: dict[tuple[str, int | None], tuple[Graph, Any]] = {}

    def listen(mutation: Mutation) -> Verdict:
        key = mutation.spec, mutation.size
        if key not in made:
            made[key] = _prepared(comparison, mutation, folder)
        wanted.write_text(mutation.name)
        training = mutation.rows == "training"
        report = comparison.compare(*made[key], bisect=not training, training_steps=STEPS if training else None)
        return Verdict(mutation, report)

    return listen


def _prepared(comparison: Comparison, mutation: Mutation, folder: Path) -> tuple[Graph, Any]:
    size = (mutation.size, mutation.size) if mutation.size else None
    first = comparison._processes[0]
    path = SPECS / f"{mutation.spec}.yaml"
    return prepared(first, folder / "drawn.safetensors", path, None, 0, None, size, lambda step: None)


@contextmanager
def _registered(folder: Path) -> Generator[None]:
    """The wrong backends as a third party would provide them, on the path of this process and of its workers."""
    info = folder / "mutated_backends-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mutated-backends\nVersion: 1.0\n")
    points = "".join(f"mutated_{framework} = {value}\n" for framework, value in CLASSES.items())
    (info / "entry_points.txt").write_text(f"[resnet_spec.backends]\n{points}")
    paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), VARIABLE: str(folder / "mutation"), **ALONE}
    before = {name: os.environ.get(name) for name in settings}
    os.environ |= settings
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the mutations whose names match a pattern; the whole table is written where that is all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args(arguments).pattern
    chosen = [mutation for name, mutation in MUTATIONS.items() if fnmatchcase(name, pattern)]
    verdicts: dict[str, Verdict] = {}
    for framework in ("tensorflow", "torch"):
        own = [mutation for mutation in chosen if mutation.backend == framework]
        if not own:
            continue
        with listening([framework]) as listeners:
            for mutation in own:
                try:
                    verdict = listeners[framework](mutation)
                except BackendError as error:
                    print(f"FAILED {mutation.name} | {error}", flush=True)
                    continue
                verdicts[mutation.name] = verdict
                print(line(verdict), flush=True)
    if pattern == "*":
        TABLE.write_text(document([verdicts[name] for name in MUTATIONS]))


def line(verdict: Verdict) -> str:
    """A verdict as a line for a person."""
    heard = {"caught": verdict.caught, "located": verdict.located, "named": verdict.named}
    missed = [word for word, right in heard.items() if not right]
    first = verdict.first
    found = f"{first.node}: {first.causes}" if first else "nowhere"
    return f"{'ok    ' if not missed else 'MISSED'} {verdict.mutation.name} | {' '.join(missed)} | {found}"


def document(verdicts: Sequence[Verdict]) -> str:
    return ""
