"""Mutated models: each mutation is applied to a model, which is compared with the spec as ``parity --against`` does.

``python -m tests.lab.mutated_models`` runs all of them, or those whose names match a pattern, and keeps what was found
in ``mutated_models.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_spec import Graph, ParityReport, get_backend
from resnet_spec.errors import ModelError, ResnetSpecError
from resnet_spec.parity.compare import loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.model import ModelComparison
from resnet_spec.parity.source_process import SourceProcess
from resnet_spec.weights.formats.safetensors import read_safetensors, write_safetensors
from tests.lab.detection import SPECS, registered
from tests.lab.mutated import VARIABLE
from tests.lab.mutations import MUTATIONS, Mutation

RESULTS = Path(__file__).with_name("mutated_models.json")


def torch_model() -> Any:
    """Return the current mutation's PyTorch model; run in the model's process."""
    return _model("mutated_torch")


def tensorflow_model() -> Any:
    """Return the current mutation's Keras model; run in the model's process."""
    return _model("mutated_tensorflow")


def _model(name: str) -> Any:
    folder = Path(os.environ[VARIABLE]).parent
    graph = Graph.from_json((folder / "graph.json").read_bytes())
    arrays = read_safetensors(folder / "model.safetensors").tensors
    backend = get_backend(name)
    model = backend.compile(graph, dtype="float32")
    backend.load(model, graph, arrays)
    return model


@dataclass(frozen=True)
class Outcome:
    """What ``parity --against`` says of one mutated model: a report, or the error that the model cannot be read."""

    mutation: Mutation
    report: ParityReport | None
    error: str = ""

    @property
    def how(self) -> str:
        """What reports it: the structure, parameters, values, an error, a note, the logits, or nothing."""
        if self.report is None:
            return "unreadable"
        if self.report.structure:
            return "structure"
        if any(difference.quantity == "parameters" for difference in self.report.differences):
            return "parameters"
        if self.report.findings:
            return "values"
        if not self.report.passed:
            return "logits"
        return "note" if any("in training only" in note for note in self.report.notes) else ""

    @property
    def node(self) -> str:
        """The first node that is named."""
        at = self.mutation.at
        if self.report is None:
            return at if at in self.error else self.error
        if self.report.structure:
            return self.report.structure[0].node
        if self.report.findings:
            return self.report.findings[0].node
        own = [d.subject for d in self.report.differences if d.quantity == "parameters"]
        if own:
            return own[0].rpartition(".")[0]
        return at if any(at in note for note in self.report.notes) else ""


@contextmanager
def comparing_models(backend: str = "torch") -> Generator[Callable[[Mutation], Outcome]]:
    """Yield a function that compares a mutated model with its spec in a backend; processes are started once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        stack.enter_context(registered(folder))
        wanted = folder / "mutation"
        wanted.write_text("")
        comparison = stack.enter_context(ModelComparison.starting([backend]))
        sources: dict[str, SourceProcess] = {}
        made: dict[tuple[str, int | None], Any] = {}

        def run(mutation: Mutation) -> Outcome:
            size = (mutation.size, mutation.size) if mutation.size else None
            spec = loaded_spec(SPECS / f"{mutation.spec}.yaml", None, size)
            key = mutation.spec, mutation.size
            if key not in made:
                first = comparison.processes[0]
                made[key] = prepared(first, Scratch(folder), spec, None, 0, lambda step: None)
            graph, arrays = made[key]
            (folder / "graph.json").write_text(graph.to_json())
            write_safetensors(folder / "model.safetensors", arrays)
            wanted.write_text(mutation.name)
            if mutation.backend not in sources:
                sources[mutation.backend] = stack.enter_context(SourceProcess())
            function = f"tests.lab.mutated_models:{mutation.backend}_model"
            try:
                source = sources[mutation.backend].read(function, [graph.input.shape])
                report = comparison.run(spec, source, weights=folder / "model.safetensors", bisect=True)
            except ModelError as error:
                return Outcome(mutation, None, str(error))
            return Outcome(mutation, report)

        yield run


def main() -> None:
    """Run the mutations whose names match a pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--missing", action="store_true", help="only those without a result")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no other begins")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.limit
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if arguments.missing and RESULTS.exists() else {}
    with comparing_models() as compare:
        for name, mutation in MUTATIONS.items():
            if not fnmatchcase(name, arguments.pattern) or name in kept:
                continue
            if time.monotonic() > end:
                break
            try:
                outcome = compare(mutation)
                how, node = outcome.how, outcome.node
            except ResnetSpecError as error:
                how, node = "error", str(error)
            results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results[name] = {"at": mutation.at, "reported by": how, "node": node}
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
            print(
                "ok" if how and node == mutation.at else "NOT",
                "|",
                name,
                "|",
                mutation.expected,
                "|",
                how,
                "|",
                mutation.at,
                "|",
                node[:200],
                flush=True,
            )


if __name__ == "__main__":
    main()
