"""``python -m benchmarks.deploying``: time ResNet-50 in every runtime, and write the table of docs/deploying.md."""

from __future__ import annotations

from pathlib import Path

import resnet_spec
from resnet_spec.benchmarking.report import BenchmarkReport

DOCUMENT = Path(__file__).parent.parent / "docs" / "deploying.md"
START, END = "<!-- python -m benchmarks.deploying -->\n", "<!-- end -->\n"
NAME, BATCHES, ROUNDS = "torchvision/resnet50", (8,), 8


def main() -> None:
    report = resnet_spec.benchmark(NAME, batches=BATCHES, rounds=ROUNDS, progress=print)
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
    DOCUMENT.write_text(before + START + table(report) + END + rest.partition(END)[2], encoding="utf-8")


def table(report: BenchmarkReport) -> str:
    """One row for each runtime that was timed."""
    heads = [
        "runtime",
        *(f"ms, {batch} image{'s' * (batch > 1)}" for batch in BATCHES),
        "load s",
        "MiB",
        "file MiB",
        "Δ",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for runtime in report.runtimes:
        if runtime.error:
            continue
        times = [
            f"{1000 * timing.latency.median:.0f}" if not timing.latency.noisy else "noisy" for timing in runtime.timings
        ]
        largest = max(timing.difference.relative for timing in runtime.timings)
        sizes = [f"{(number or 0) / 2**20:.0f}" for number in (runtime.memory, runtime.size)]
        cells = [f"`{runtime.name}`", *times, f"{runtime.load_seconds:.1f}", *sizes, f"{largest:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    machine = f"{report.threads} threads of an {report.machine['processor']}"
    return f"{report.spec} on {machine}, by `resnet-spec bench`:\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
