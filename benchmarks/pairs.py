"""Time two implementations alternately: a machine's speed drifts, the ratio within a pair does not."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """Seconds of both sides (medians), and the median of the pairwise ratios ours / theirs with its 95 % interval."""

    name: str
    pairs: int
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    target: str = ""


def measure(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    pairs: int,
    *,
    target: str = "",
    warmups: int = 2,
) -> Ratio:
    """Time both in alternating order; the interval is from 2,000 bootstrap samples of the pairs."""
    for _ in range(warmups):
        ours()
        theirs()
    times: list[tuple[float, float]] = []
    gc.collect()
    for index in range(pairs):
        if index % 2:
            other = seconds(theirs)
            times.append((seconds(ours), other))
        else:
            times.append((seconds(ours), seconds(theirs)))
    return summarize(name, np.array(times), target)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    result = run()
    elapsed = time.perf_counter() - start
    # Freed outside the timing, for both.
    del result
    return elapsed


def summarize(name: str, times: Any, target: str = "") -> Ratio:
    """The ratio of pairs of (ours, theirs) seconds."""
    ratios = times[:, 0] / times[:, 1]
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    ours, theirs = np.median(times, axis=0)
    return Ratio(
        name, len(ratios), float(ours), float(theirs), float(np.median(ratios)), float(low), float(high), target
    )
