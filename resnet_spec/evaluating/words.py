"""The figures of an evaluation as short texts, for terminals and pages."""

from __future__ import annotations

from math import isnan

from resnet_spec.evaluating.report import EvaluationReport
from resnet_spec.evaluating.scores import Interval
from resnet_spec.parity.render.words import figure


def percent(value: float) -> str:
    """A share in percent, as publishers report it.

    >>> percent(0.80858)
    '80.86'
    """
    return f"{100 * value:.2f}"


def interval(found: Interval) -> str:
    """The ends of an interval in percent."""
    return f"{percent(found.low)} to {percent(found.high)}"


def accuracy(found: Interval | None) -> tuple[str, str]:
    """A share in percent, and its interval; empty where it has no meaning."""
    return ("", "") if found is None else (percent(found.share), interval(found))


def published(report: EvaluationReport) -> tuple[str, str]:
    """The published top-1 and top-5 in percent; empty where there are none."""
    found = report.published
    top5 = found.top5 if found else None
    return (f"{found.top1:.2f}" if found else "", "" if top5 is None else f"{top5:.2f}")


def counted(number: int, what: str) -> str:
    """A number of things: ``1 image``, ``1,000 images``; the letters after a bar are those of several.

    >>> counted(2, "image"), counted(1, "class|es")
    ('2 images', '1 class')
    """
    word, _, ending = what.partition("|")
    return f"{number:,} {word}{'' if number == 1 else ending or 's'}"


def heading(report: EvaluationReport) -> str:
    """What was evaluated: ``weights IMAGENET1K_V2, 50,000 images of 1,000 classes in val``."""
    classes = len({number for _, number in report.images})
    weights = f"weights {report.weights}, " if report.weights else ""
    return f"{weights}{counted(report.count, 'image')} of {counted(classes, 'class|es')} in {report.folder}"


def agreement(report: EvaluationReport, name: str) -> str:
    """How a backend or model differs from the reference, as a sentence."""
    first, result, images = report.names[0], report.results[name], counted(report.count, "image")
    ties = sum(image.is_tie for image in result.differing)
    if not result.differing:
        text = f"on all {images}, {name} has the same class as {first}"
    else:
        text = f"on {len(result.differing):,} of {images}, {name} has another class than {first}"
        if ties:
            text += f", of which rounding decides {'all' if ties == len(result.differing) else f'{ties:,}'}"
    text += f"; probabilities differ by {_difference(result.probabilities)} at most"
    if not isnan(result.logits):
        text += f", logits by {_difference(result.logits)} of their standard deviation"
        if report.bound:
            text += f" (rounding explains {figure(report.bound)})"
    return text


def _difference(value: float) -> str:
    """A difference, of which those of another network are a tenth or more."""
    return f"{value:.2f}" if 0.01 <= value < 1000 else figure(value)


def notes(report: EvaluationReport) -> list[str]:
    """What a reader of the figures must know, a sentence each."""
    found = [*report.notes]
    for name in report.names:
        if nonfinite := report.results[name].nonfinite:
            found += [f"of {counted(nonfinite, 'image')}, which count as wrong, {name} returns NaN or infinity"]
    if report.unreadable:
        count, verb = counted(len(report.unreadable), "image"), "counts" if len(report.unreadable) == 1 else "count"
        found.append(f"{count} cannot be read, and {verb} neither as right nor as wrong")
    if report.published and report.count != VALIDATION:
        found.append("the published figures are of ImageNet's 50,000 validation images")
    return found


VALIDATION = 50_000
"""The images by which the accuracy of published weights is measured."""
