"""``python -m benchmarks [PART…]``: run each part in its own process and replace its rows in docs/benchmarks.md."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.pairs import Ratio

PARTS = (
    "commands",
    "torch_building",
    "torch_running",
    "tensorflow_keras",
    "optimized_torch",
    "optimized_tensorflow",
    "deployed",
    "weights_filling",
    "weights_converting",
    "weights_memory",
    "sharding",
    "importing",
    "evaluating",
    "parity_lab",
)
REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    if sys.argv[1:2] == ["--part"]:
        for ratio in importlib.import_module(f"benchmarks.{sys.argv[2]}").run():
            print(json.dumps(asdict(ratio)), flush=True)
        return
    results: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text())
    for part in sys.argv[1:] or PARTS:
        ratios: list[Ratio] = []
        command = [sys.executable, "-m", "benchmarks", "--part", part]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                ratios.append(Ratio(**json.loads(line)))
                print(row(ratios[-1]), flush=True)
        if process.returncode:
            raise SystemExit(f"{part} failed")
        results[part] = [asdict(ratio) for ratio in ratios]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    REPORT.write_text(report([Ratio(**ratio) for part in PARTS for ratio in results.get(part, [])]))


def row(ratio: Ratio) -> str:
    figures = f"{ratio.ours:.3f} | {ratio.theirs:.3f} | {ratio.ratio:.3f} | {ratio.low:.3f}–{ratio.high:.3f}"
    return f"| {ratio.name} | {ratio.pairs} | {figures} | {ratio.target} |"


def report(ratios: list[Ratio]) -> str:
    libraries = ("torch", "torchvision", "tensorflow", "keras", "safetensors", "onnx", "pydantic")
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    header = "| what | pairs | ours | theirs | ratio | 95 % interval | target |\n|---|---|---|---|---|---|---|"
    rows = "\n".join(row(ratio) for ratio in ratios)
    return (
        "# Benchmarks\n\n"
        "Written by `make benchmark`; do not edit. Each row times two implementations of one task alternately: in one"
        " process, or\nfiles of runtimes each in its own. *Ours* and *theirs* are median seconds, or GiB where a row"
        " says so; *ratio* is the\nmedian of ours / theirs over the pairs, with a 95 % bootstrap interval. Each row"
        " comes from the last run of its benchmark.\nSeconds depend on the machine; ratios carry over.\n\n"
        f"Machine: {processor()}. {versions}.\n\n{header}\n{rows}\n"
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of an {names[0]}" if names else "unknown"


if __name__ == "__main__":
    main()
