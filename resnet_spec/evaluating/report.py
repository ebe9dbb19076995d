"""What an evaluation found: the accuracy in each backend or model, and the images on which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec import notebook
from resnet_spec.document.json_output import plain_data
from resnet_spec.evaluating.scores import TOP, Changes, Interval, Scores, wilson
from resnet_spec.parity.report import ratio
from resnet_spec.spec.published import Accuracy, Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Differing(NamedTuple):
    """An image whose likeliest class is not the reference's.

    Attributes:
        image: Its path below the folder.
        label: The name of its class.
        top: The name and probability of the likeliest class in the reference and in the other.
        gap: By how much the reference prefers its class to the other's, in logits.
        is_tie: Whether rounding explains that.
    """

    image: str
    label: str
    top: tuple[tuple[str, float], tuple[str, float]]
    gap: float
    is_tie: bool


class Result(NamedTuple):
    """What was found in a backend or model.

    Attributes:
        name: The backend or model.
        top1: The share of images whose class is the likeliest, with its 95 % interval.
        top5: The share of images whose class is among the five likeliest; None for a network of up to five classes.
        nonfinite: On how many images a logit is NaN or infinite; these count as wrong.
        differing: The images whose likeliest class is not the reference's: first those that rounding does not explain,
            the clearest first. Empty for the reference.
        logits: The largest difference of a logit from the reference, in standard deviations of its logits; NaN where
            either gives probabilities.
        probabilities: The largest difference of a probability from the reference.
    """

    name: str
    top1: Interval
    top5: Interval | None
    nonfinite: int
    differing: list[Differing]
    logits: float
    probabilities: float


@dataclass(frozen=True)
class EvaluationReport:
    """What ``evaluate`` found; the first backend or model is the reference that others are compared with.

    Attributes:
        spec: The spec's name.
        labels: The names of the network's classes.
        images: The path of each image below the folder, and the number of its class.
        read: Whether each image could be read.
        scores: What is known of each image in each backend or model.
        changes: How far each of them but the first is from the reference.
        unreadable: Why images could not be read, by their paths.
        weights: The file or the published weights; empty if only files of models were evaluated.
        folder: The folder of images.
        preprocessing: From an image to the network's input.
        matched: By what folders were matched with classes: ``names``, ``numbers``, ``WordNet ids`` or
            ``their sorted order``.
        deviation: The standard deviation of the reference's logits; NaN if it gives probabilities.
        allowed: How far float32 rounding may move a logit between two backends; 0 if that was not computed.
        published: The accuracy that the publisher of the weights reports, on ImageNet's validation images.
        environment: Versions and settings, by what they are, in each of them.
        notes: What was ignored, and what else a reader must know, a sentence each.
        throughput: The images of a second, of those that were not known from before; 0 if all were.
    """

    spec: str
    labels: Sequence[str]
    images: Sequence[tuple[str, int]]
    read: NDArray[np.bool_]
    scores: Mapping[str, Scores]
    changes: Mapping[str, Changes] = field(default_factory=dict[str, Changes])
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    weights: str = ""
    folder: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    matched: str = ""
    deviation: float = nan
    allowed: float = 0.0
    published: Accuracy | None = None
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    notes: tuple[str, ...] = ()
    throughput: float = 0.0

    def __repr__(self) -> str:
        """Say in a line what was evaluated, and the accuracy."""
        found = ", ".join(f"{name} {result.top1.share:.2%}" for name, result in self.results.items())
        return f"EvaluationReport({self.spec!r}, {self.count:,} images, {found})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the accuracy in each backend or model."""
        rows = [
            [name, *(f"{100 * value:.2f}" for value in result.top1), f"{len(result.differing):,}"]
            for name, result in self.results.items()
        ]
        return notebook.table(repr(self), ["", "top-1 %", "low", "high", "differ"], rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The backends and models, the reference first."""
        return tuple(self.scores)

    @property
    def count(self) -> int:
        """How many images could be read."""
        return int(self.read.sum())

    @cached_property
    def results(self) -> Mapping[str, Result]:
        """What was found in each backend or model, the reference first."""
        return {name: self._result(name) for name in self.names}

    @property
    def bound(self) -> float:
        """The difference of logits that float32 rounding explains, in their standard deviations; 0 if not computed."""
        return ratio(self.allowed, self.deviation) if self.allowed else 0.0

    @property
    def passed(self) -> bool:
        """Whether every image could be read, all logits are finite, and no other class but for rounding was found."""
        if self.unreadable or any(result.nonfinite for result in self.results.values()):
            return False
        return all(image.is_tie for result in self.results.values() for image in result.differing)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON, without NaN and infinity.

        Returns:
            The accuracies as shares with their intervals, every image that differs, and every one that was not read.

        Examples:
            >>> import numpy as np
            >>> scores = Scores(np.array([[1, 0], [0, 1]]), np.array([0, 1]), np.array([0.9, 0.6]))
            >>> images, read = [("dog/a.png", 1), ("dog/b.png", 1)], np.ones(2, bool)
            >>> report = EvaluationReport("net", ("cat", "dog"), images, read, {"torch": scores})
            >>> report.to_dict()["results"][0]["top1"]["share"]
            0.5
        """
        return plain_data(
            {
                "spec": self.spec,
                "passed": self.passed,
                "weights": self.weights,
                "folder": self.folder,
                "images": self.count,
                "classes": len(self.labels),
                "matched": self.matched,
                "preprocessing": self.preprocessing.model_dump(),
                "published": self.published and self.published.model_dump(),
                "results": [self._result_data(result) for result in self.results.values()],
                "unreadable": [{"image": image, "error": why} for image, why in self.unreadable.items()],
                "notes": self.notes,
                "throughput": self.throughput,
                "environment": self.environment,
            }
        )

    def _result(self, name: str) -> Result:
        import numpy as np

        rank = self.scores[name].rank[self.read]
        top1, top5 = (wilson(int((rank < places).sum()), self.count) for places in (1, TOP))
        logits = probabilities = 0.0
        if name in self.changes and self.count:
            logits, probabilities = (float(np.max(values[self.read])) for values in self.changes[name][:2])
        return Result(
            name=name,
            top1=top1,
            top5=top5 if len(self.labels) > TOP else None,
            nonfinite=int((rank == len(self.labels)).sum()),
            differing=self._differing(name) if name in self.changes else [],
            logits=ratio(logits, self.deviation),
            probabilities=probabilities,
        )

    def _differing(self, name: str) -> list[Differing]:
        first, other, changes = self.scores[self.names[0]], self.scores[name], self.changes[name]
        places = [int(place) for place in (self.read & (first.top[:, 0] != other.top[:, 0])).nonzero()[0]]
        found = [
            Differing(
                image=self.images[place][0],
                label=self.labels[self.images[place][1]],
                top=(self._likeliest(first, place), self._likeliest(other, place)),
                gap=float(changes.gap[place]),
                is_tie=bool(changes.gap[place] <= 2 * self.allowed),
            )
            for place in places
        ]
        return sorted(found, key=lambda image: (image.is_tie, -image.gap if isfinite(image.gap) else 0.0))

    def _likeliest(self, scores: Scores, place: int) -> tuple[str, float]:
        return self.labels[int(scores.top[place, 0])], float(scores.probability[place])

    def _result_data(self, result: Result) -> dict[str, Any]:
        data = {
            "name": result.name,
            "top1": result.top1._asdict(),
            "top5": result.top5 and result.top5._asdict(),
            "nonfinite": result.nonfinite,
        }
        if result.name == self.names[0]:
            return data
        return data | {
            "against": self.names[0],
            "differing": len(result.differing),
            "ties": sum(image.is_tie for image in result.differing),
            "logits": result.logits,
            "bound": self.bound,
            "probabilities": result.probabilities,
            "images": [
                {
                    "image": image.image,
                    "label": image.label,
                    "top": {
                        name: {"label": label, "probability": share}
                        for name, (label, share) in zip((self.names[0], result.name), image.top, strict=True)
                    },
                    "gap": image.gap,
                    "tie": image.is_tie,
                }
                for image in result.differing
            ],
        }
