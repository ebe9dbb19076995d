"""What a benchmark found: the times, costs and agreement of each runtime, and how sure the figures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from resnet_spec.document.json_output import plain_data
from resnet_spec.operations.fields import Shape
from resnet_spec.parity.report import Difference

SAMPLES = 2000
"""Bootstrap samples of an interval."""

WIDEST = 0.1
"""The widest 95 % interval, as a share of its figure, with which the figure is shown."""


class Interval(NamedTuple):
    """A median with the 95 % interval of bootstrap samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """The interval of the median of values, the same for the same values."""
        import numpy as np

        drawn = np.random.default_rng(0).choice(np.asarray(values), (SAMPLES, len(values)))
        low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
        return cls(float(np.median(values)), float(low), float(high))

    @property
    def noisy(self) -> bool:
        """Whether the interval is too wide for a figure."""
        return not self.high - self.low <= WIDEST * self.median


@dataclass(frozen=True)
class Timing:
    """The runs of one runtime with one batch size.

    Attributes:
        batch: The number of images of a run.
        rounds: The seconds of each run, one sequence for each round.
        reference: The median seconds of the first runtime's runs in each round.
        difference: The difference of the logits from the float64 reference.
    """

    batch: int
    rounds: Sequence[Sequence[float]]
    reference: Sequence[float]
    difference: Difference

    @cached_property
    def latency(self) -> Interval:
        """The median seconds of a run."""
        return Interval.of(self._medians)

    @cached_property
    def ratio(self) -> Interval:
        """The median seconds over those of the first runtime in the same round."""
        return Interval.of([own / other for own, other in zip(self._medians, self.reference, strict=True)])

    @cached_property
    def p95(self) -> float:
        """The seconds that 95 % of the runs do not exceed."""
        import numpy as np

        return float(np.percentile([seconds for found in self.rounds for seconds in found], 95))

    @property
    def throughput(self) -> float:
        """Images a second, at the median."""
        return self.batch / self.latency.median

    @property
    def noisy(self) -> bool:
        """Whether the machine was too busy for a figure: the interval of the time or of the ratio is too wide."""
        return self.latency.noisy or self.ratio.noisy

    @cached_property
    def _medians(self) -> list[float]:
        return medians(self.rounds)

    def to_dict(self) -> dict[str, Any]:
        """The timing as data for JSON: no figure of time where it is noisy, or where the results differ."""
        figures = {
            "seconds": self.latency._asdict(),
            "p95": self.p95,
            "throughput": self.throughput,
            "ratio": self.ratio._asdict(),
        }
        return {
            "batch": self.batch,
            "noisy": self.noisy,
            **(dict.fromkeys(figures) if self.noisy or not self.difference.passed else figures),
            "runs": sum(map(len, self.rounds)),
            "agreement": self.difference.to_dict(),
        }


@dataclass(frozen=True)
class RuntimeReport:
    """What was found of one runtime.

    Attributes:
        name: The runtime.
        backend: The backend that offers it.
        description: What it is.
        size: The bytes of the file or folder that it loads.
        load_seconds: From the file to the first result, without the import of the framework.
        memory: The most memory that its process used, in bytes, the framework included; None where it is unknown.
        timings: One for each batch size.
        environment: Versions and settings, by what they are.
        error: Why it was not timed, if it was not.
    """

    name: str
    backend: str
    description: str = ""
    size: int = 0
    load_seconds: float = 0.0
    memory: int | None = None
    timings: Sequence[Timing] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether its logits are those of the reference up to rounding, with every batch size."""
        return not self.error and all(timing.difference.passed for timing in self.timings)

    def to_dict(self) -> dict[str, Any]:
        """The report as data for JSON."""
        data = {"runtime": self.name, "backend": self.backend}
        if self.error:
            return data | {"error": self.error}
        return data | {
            "description": self.description,
            "agrees": self.agrees,
            "size": self.size,
            "load_seconds": self.load_seconds,
            "memory": self.memory,
            "timings": [timing.to_dict() for timing in self.timings],
            "environment": dict(self.environment),
        }


@dataclass(frozen=True)
class BenchmarkReport:
    """What a benchmark of one spec found.

    Attributes:
        spec: The spec's name.
        shape: The input's shape, without the batch.
        weights: ``random``, or the file or published weights.
        reference: The backend whose float64 logits the others are compared with.
        threads: How many threads each runtime computed with.
        machine: The processor, the system and the version of Python.
        runtimes: The runtimes, the one that ratios refer to first.
    """

    spec: str
    shape: Shape
    weights: str
    reference: str
    threads: int
    machine: Mapping[str, str]
    runtimes: Sequence[RuntimeReport]

    def __repr__(self) -> str:
        """Say in a line what was timed."""
        return f"BenchmarkReport({self.spec!r}, {', '.join(runtime.name for runtime in self.runtimes)})"

    @property
    def batches(self) -> list[int]:
        """The batch sizes, in the order in which they were timed."""
        return [*dict.fromkeys(timing.batch for runtime in self.runtimes for timing in runtime.timings)]

    @property
    def passed(self) -> bool:
        """Whether every runtime that was timed agrees with the reference."""
        return all(runtime.agrees for runtime in self.runtimes if not runtime.error)

    def to_dict(self) -> dict[str, Any]:
        """The report as data for JSON, without NaN and infinity.

        Returns:
            The verdict, the machine, and each runtime with its times in seconds and sizes in bytes.

        Examples:
            >>> BenchmarkReport("net", (3, 8, 8), "random", "torch", 2, {}, []).to_dict()["input"]
            [3, 8, 8]
        """
        return plain_data(
            {
                "spec": self.spec,
                "passed": self.passed,
                "input": list(self.shape),
                "weights": self.weights,
                "reference": f"{self.reference} float64",
                "threads": self.threads,
                "machine": dict(self.machine),
                "runtimes": [runtime.to_dict() for runtime in self.runtimes],
            }
        )


def medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The median of each round."""
    import numpy as np

    return [float(np.median(found)) for found in rounds]
