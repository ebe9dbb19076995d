"""The figures of a benchmark as short texts, for terminals and pages."""

from __future__ import annotations

from resnet_spec.benchmarking.report import BenchmarkReport, Interval, RuntimeReport, Timing

NOISY = "noisy"
"""In place of a figure that the machine's other work made uncertain."""

MIB = 2**20


def milliseconds(seconds: float) -> str:
    """A time in milliseconds, to three digits.

    >>> milliseconds(0.0012345), milliseconds(0.12345), milliseconds(12.3)
    ('1.23', '123', '12300')
    """
    return f"{1000 * seconds:.{max(0, 2 - _exponent(1000 * seconds))}f}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def mebibytes(size: int | None) -> str:
    """A size in MiB; empty where it is unknown."""
    return "" if size is None else f"{size / MIB:.{1 if size < 10 * MIB else 0}f}"


def interval(found: Interval) -> str:
    """An interval of a ratio."""
    return f"{found.low:.2f} to {found.high:.2f}"


def agreement(timing: Timing) -> str:
    """How far logits are from the reference's: the largest difference in their standard deviations."""
    found = timing.difference
    return f"{found.relative:.0e}" if found.passed else "DIFFERS"


def is_shown(timing: Timing) -> bool:
    """Whether a time is shown: not of results that differ, nor of a busy machine."""
    return timing.difference.passed and not timing.noisy


def figures(timing: Timing) -> dict[str, str]:
    """The texts of a timing by column."""
    if not is_shown(timing):
        return {"median": NOISY * timing.difference.passed, "p95": "", "throughput": "", "ratio": "", "interval": ""}
    return {
        "median": milliseconds(timing.latency.median),
        "p95": milliseconds(timing.p95),
        "throughput": f"{timing.throughput:,.0f}" if timing.throughput >= 10 else f"{timing.throughput:.1f}",
        "ratio": f"{timing.ratio.median:.2f}",
        "interval": interval(timing.ratio),
    }


def heading(report: BenchmarkReport, batch: int) -> str:
    """What was timed: ``8×3×224×224, random weights, 2 threads``."""
    weights = "random weights" if report.weights == "random" else f"weights {report.weights}"
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    return f"{'×'.join(map(str, (batch, *report.shape)))}, {weights}, {threads}"


def notes(report: BenchmarkReport) -> list[str]:
    """What a reader of the figures must know, a sentence each."""
    timed = [runtime for runtime in report.runtimes if not runtime.error]
    found = [f"{runtime.name} was not timed: {runtime.error}" for runtime in report.runtimes if runtime.error]
    differing = (runtime for runtime in timed if not runtime.agrees)
    found += [f"{runtime.name} computes something else: {_difference(runtime)}" for runtime in differing]
    if any(timing.noisy for runtime in timed for timing in runtime.timings):
        found.append(
            "noisy: the 95 % interval of the time, or of its ratio, is wider than a tenth of it; time again while the "
            "machine does nothing else, or in more rounds"
        )
    return found


def _difference(runtime: RuntimeReport) -> str:
    worst = max((timing.difference for timing in runtime.timings), key=lambda difference: difference.relative)
    explained = f"of which rounding explains {worst.bound:.1e}"
    return f"its logits differ by {worst.relative:.1e} of their standard deviation, {explained}"
