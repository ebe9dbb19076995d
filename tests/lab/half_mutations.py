"""``python -m tests.lab.half_mutations``: how many mistakes half precision shows, for docs/precision.md.

Each mutation that changes logits is applied to one backend, whose logits in half precision are compared with the other
framework's float64. What is recorded in ``half_mutations.json`` is not repeated without ``--again``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_spec.backend.dtypes import HALF
from resnet_spec.errors import BackendError
from resnet_spec.parity.compare import Comparison, comparing, loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.half import HalfComparison
from resnet_spec.parity.precision import PRECISIONS
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.report import largest_difference
from tests.lab.detection import REFERENCES, SPECS, registered
from tests.lab.mutations import MUTATIONS, Mutation

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "precision.md"
HEADING = "## What half precision hides\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.again else {}
    with TemporaryDirectory() as name, registered(Path(name)):
        folder = Path(name)
        for framework, reference in REFERENCES.items():
            own = [m for m in chosen() if m.backend == framework and m.name not in results]
            (folder / "mutation").write_text("")
            with comparing((reference, f"mutated_{framework}")) as comparison:
                for mutation in own:
                    results[mutation.name] = shares(comparison, mutation, folder)
                    print(mutation.name, results[mutation.name], flush=True)
                    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    before, _, after = split_document()
    DOCUMENT.write_text(before + HEADING + section(results) + after, "utf-8")


def split_document() -> tuple[str, str, str]:
    """Return the page before the heading of the section, the section, and the sections that follow it."""
    before, _, rest = DOCUMENT.read_text("utf-8").partition(HEADING)
    found, heading, after = rest.partition("\n## ")
    return before, found, heading + after


def chosen() -> list[Mutation]:
    """Return the mutations that float64 detects by the logits."""
    return [mutation for mutation in MUTATIONS.values() if mutation.expected == "inference"]


def shares(comparison: Comparison, mutation: Mutation, folder: Path) -> dict[str, float | None]:
    """Return the difference of a mutated backend in each half precision, in parts of what is allowed."""
    (folder / "mutation").write_text("")
    reference, mutated = comparison._processes
    size = (mutation.size, mutation.size) if mutation.size else None
    spec = loaded_spec(SPECS / f"{mutation.spec}.yaml", None, size)
    files = Scratch(folder)
    graph, arrays = prepared(reference, files, spec, None, 0, lambda step: None)
    images = random_images((2, *graph.input.shape), 1)
    found: dict[str, float | None] = {}
    for dtype in HALF:
        halves = HalfComparison([reference], files, lambda step: None)
        try:
            (right,), _ = halves.run(graph, arrays, images, 0, dtype)
            weights, given = files._last["weights.safetensors"], PRECISIONS[dtype](images)
            exact = halves._logits(reference, graph, weights, given, "float64")
            (folder / "mutation").write_text(mutation.name)
            wrong = halves._logits(mutated, graph, weights, given, dtype)
            found[dtype] = largest_difference(wrong, exact) / right.allowed
        except BackendError:
            # A kernel that a framework does not have in half precision.
            reference.recover()
            mutated.recover()
            found[dtype] = None
        finally:
            (folder / "mutation").write_text("")
    return found


def section(results: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the section of the document."""
    counts = {}
    for dtype in HALF:
        run = [found[dtype] for found in results.values() if found[dtype] is not None]
        counts[dtype] = f"{sum(not share <= 1 for share in run if share is not None)} of {len(run)} in {dtype}"
    return f"""
Of {len(results)} [mistakes](mutations.md) that float64 shows in the logits, a comparison of half precision with the
other framework's float64 shows {counts["bfloat16"]} and {counts["float16"]}
(`python -m tests.lab.half_mutations`; the rest needs a kernel that a framework does not have). What is not shown is
smaller than rounding: compare in float64, and in half precision for what is wrong in half precision only.
"""


if __name__ == "__main__":
    main()
