"""Texts for figures, differences and findings, shared by all kinds of reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isinf, isnan
from typing import TYPE_CHECKING

from resnet_spec.parity.report import ratio

if TYPE_CHECKING:
    from resnet_spec.parity.report import Difference, Finding, NodeReport, ParityReport


def figure(value: float) -> str:
    """Return a difference or a bound as text: ``3.3e-15``, ``infinite``, ``not a number``."""
    if isnan(value):
        return "not a number"
    if isinf(value):
        return "infinite"
    return f"{value:.1e}" if value else "0"


def input_text(report: ParityReport) -> str:
    """Return the batch and the size of the input: ``2×64×64``."""
    return "×".join(map(str, (report.batch, *report.size)))


def subject(difference: Difference) -> str:
    """Return what was compared: ``logits``, ``gradients: conv1.weight``."""
    return f"{difference.quantity}: {difference.subject}" if difference.subject else difference.quantity


def sides(difference: Difference) -> str:
    """Return the two sides of a difference: ``tensorflow against torch, float64``."""
    against = difference.reference
    if against == f"{difference.backend} float64":
        against = "its own float64"
    return f"{difference.backend} against {against}, {difference.dtype}"


def share(difference: Difference) -> float:
    """Return the share of its bound that a difference uses; infinite if either is not a number."""
    part = ratio(difference.largest, difference.allowed)
    return inf if isnan(part) else part


def share_text(difference: Difference) -> str:
    """Return that share as text: ``28 %``, ``3.1 ×``, ``2e+09 ×``, or ``infinite (the reference is zero)``."""
    part = share(difference)
    if isnan(difference.largest):
        return "not a number"
    if not difference.passed and (isinf(part) or not difference.size):
        return "infinite" if difference.size else "infinite (the reference is zero)"
    if 0 < part < 0.001:
        return "under 0.1 %"
    if difference.passed:
        return f"{100 * part:.2g} %"
    return f"{part:.3g} ×" if part < 1000 else f"{part:.0e} ×"


def figures(difference: Difference) -> str:
    """Return a difference beside what is allowed: ``4.0e-14, where 1.0e-14 is allowed (4 ×)``."""
    if difference.size or isnan(difference.largest):
        return f"{figure(difference.relative)}, where {figure(difference.bound)} is allowed ({share_text(difference)})"
    return f"{figure(difference.largest)} from a reference of zero, where {figure(difference.allowed)} is allowed"


def worst(node: NodeReport) -> Difference:
    """Return the difference that uses most of its bound."""
    return max(node.differences, key=lambda difference: (not difference.passed, share(difference)))


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Return findings in groups of one backend and the same causes, in the order of the first of each."""
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        key = (finding.backend, finding.kind, finding.causes or finding.tried)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def heading(group: list[Finding]) -> str:
    """Return the place of a group of findings, as a sentence without its full stop."""
    first, *more = group
    if first.kind == "assembly":
        return f"{first.backend} connects {first.node} to different inputs"
    own = f" (its {first.counterpart})" if first.counterpart else ""
    text = f"{first.backend} computes {first.node}{own} differently"
    if more:
        text += f", and {len(more)} more in the same way: {', '.join(finding.node for finding in more)}"
    return text


def joined(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: ``torch, tensorflow and the model``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def causes(group: list[Finding]) -> list[str]:
    """Return the confirmed causes of a group of findings, or that there are none, a sentence each."""
    first = group[0]
    if first.causes:
        return [f"confirmed cause: {cause}" for cause in first.causes]
    if first.tried:
        return [f"no cause found: none of the {first.tried} known ones explains the difference"]
    return ["no cause was looked for"]


def verdict_of_nodes(report: ParityReport) -> str:
    """Return how many nodes are within their bounds, as text."""
    return f"{sum(node.passed for node in report.nodes)} of {len(report.nodes)} nodes within their bounds"
