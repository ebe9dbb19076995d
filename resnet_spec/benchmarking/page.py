"""A benchmark as one self-contained HTML page: a picture for each batch size, and every figure."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_spec.benchmarking import picture, words
from resnet_spec.benchmarking.report import BenchmarkReport
from resnet_spec.parity.render.pages import render

PACKAGE = "resnet_spec.benchmarking"


def html_page(reports: Sequence[BenchmarkReport]) -> str:
    """Return a page on benchmarks.

    Args:
        reports: One for each spec.

    Returns:
        HTML without scripts and without references to other files.
    """
    return render(PACKAGE, "bench.html", reports=reports, words=words, picture=picture, drawing=_drawing)


def _drawing(report: BenchmarkReport, batch: int) -> picture.Picture | None:
    """Return the picture of a batch size, if it has one."""
    pairs = ((runtime, timing) for runtime in report.runtimes for timing in runtime.timings)
    return picture.picture([pair for pair in pairs if pair[1].batch == batch])
