"""``python -m tests.lab.jax_parity``: compare JAX with PyTorch on the shipped networks, for the table in docs/jax.md.

What a run finds is kept in ``jax_parity.json``, a spec at a time, so that it can be interrupted; networks whose
architecture has changed since are done again. Without patterns it begins with the smallest network of each library.
``--seconds 300`` ends it after the network during which that time passes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import resnet_spec
from resnet_spec import Graph
from resnet_spec.parity.compare import comparing
from tests.lab.calibration import or_failure, roundings, size_for

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "jax.md"
FIGURES = Path(resnet_spec.__file__).parent / "spec" / "figures.json"
START, END = "<!-- python -m tests.lab.jax_parity -->\n", "<!-- end -->\n"

FRESH = 6
"""Processes restart after this many networks, since JAX keeps what it compiles."""


def main() -> None:
    """Run the networks that match the arguments' patterns and have no current result, and write the table."""
    patterns, end = sys.argv[1:], float("inf")
    if "--seconds" in patterns:
        index = patterns.index("--seconds")
        end = time.monotonic() + float(patterns[index + 1])
        patterns = patterns[:index] + patterns[index + 2 :]
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    named = [name for name in in_turn() if not patterns or any(fnmatch(name, pattern) for pattern in patterns)]
    # Loading all networks takes a minute: those with a result are looked at last.
    waiting = sorted(named, key=lambda name: name in results)
    while waiting and time.monotonic() < end:
        graphs: dict[str, Graph] = {}
        while waiting and len(graphs) < FRESH:
            name = waiting.pop(0)
            graph = resnet_spec.load(name).to_graph()
            graphs |= {} if is_current(graph, results.get(name)) else {name: graph}
        for name, found in compared(graphs, end):
            results[name] = found
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(name, found["verdict"], f"{found.get('seconds')} s", flush=True)
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8"), results), "utf-8")


def in_turn() -> list[str]:
    """The networks, the smallest of each library first, then the second of each."""
    figures = json.loads(FIGURES.read_text("utf-8"))
    by_library: dict[str, list[str]] = {}
    for name in sorted(figures, key=lambda name: figures[name]["parameters"]):
        by_library.setdefault(name.rpartition("/")[0], []).append(name)
    return [name for names in zip_longest(*by_library.values()) for name in names if name is not None]


def is_current(graph: Graph, found: dict[str, Any] | None) -> bool:
    """Whether a network has a result, and the same roundings as then."""
    same = found is not None and (found["fingerprint"], found["roundings"]) == (graph.fingerprint, roundings(graph))
    return same and found is not None and "bound" in found


def compared(graphs: dict[str, Graph], end: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures of networks that run in the same processes, up to the first failure of a backend."""
    if not graphs:
        return
    with comparing(("torch", "jax")) as comparison:
        for name, graph in graphs.items():
            found = or_failure(graph, partial(comparison.run, name, size=size_for(graph), batch=1))
            yield name, found
            if "bound" not in found or time.monotonic() > end:
                return


def document(text: str, results: dict[str, Any]) -> str:
    """The page with the table of the results."""
    before, after = text.partition(START)[0], text.partition(END)[2]
    return f"{before}{START}{table(results)}{END}{after}"


def table(results: dict[str, Any]) -> str:
    """The results by library."""
    ran = {name: found for name, found in results.items() if "bound" in found}
    doubles = max((found["float64"] for found in ran.values()), default=0.0)
    wrong = sorted(name for name, found in ran.items() if found["verdict"] != "agrees")
    shares = [share(found) for found in ran.values()]
    lines = [
        f"{len(ran)} of {len(resnet_spec.available())} networks have run; {len(wrong)} differ"
        f"{': ' + ', '.join(wrong) if wrong else ''}. The float64 logits of JAX differ from",
        f"those of PyTorch by at most {doubles:.1e} standard deviations, where 1e-9 is allowed. A float32 result of JAX"
        f" uses at most {max(shares, default=0.0):.2f}",
        f"of its bound, and {median(shares or [0.0]):.2f} in the median.",
        "",
        "| library | networks | run | float64, largest | share of the float32 bound, largest |",
        "|---|---|---|---|---|",
    ]
    libraries: dict[str, list[str]] = {}
    for name in resnet_spec.available():
        libraries.setdefault(re.sub(r"/?[^/]*$", "", name) or "torchvision", []).append(name)
    for library, names in sorted(libraries.items()):
        own = [ran[name] for name in names if name in ran]
        figures = f"{max(f['float64'] for f in own):.1e} | {max(map(share, own)):.2f}" if own else " | "
        lines.append(f"| {library} | {len(names)} | {len(own)} | {figures} |")
    return "\n".join(lines) + "\n"


def share(found: dict[str, Any]) -> float:
    """The share of the float32 bound that JAX's result uses."""
    return found["float32"]["jax"] / found["bound"] if found["bound"] else 0.0


if __name__ == "__main__":
    main()
