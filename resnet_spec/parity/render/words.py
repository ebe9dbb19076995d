"""How figures, differences and findings are put into words, so that every kind of report says the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf, isinf, isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_spec.parity.report import Difference, Finding, NodeReport, ParityReport

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """A text without what no XML file can hold, escaped or not: a dying backend's last words may be in color."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def figure(value: float) -> str:
    """A difference or a bound: 3.3e-15, or in words what no number says."""
    if isnan(value):
        return "not a number"
    if isinf(value):
        return "infinite"
    return f"{value:.1e}" if value else "0"


def input_text(report: ParityReport) -> str:
    """The batch and the size of the input: 2×64×64."""
    return "×".join(map(str, (report.batch, *report.size)))


def subject(difference: Difference) -> str:
    """What was compared: ``logits``, ``gradients: conv1.weight``."""
    return f"{difference.quantity}: {difference.subject}" if difference.subject else difference.quantity


def sides(difference: Difference) -> str:
    """Who was compared with whom: ``tensorflow against torch, float64``."""
    against = difference.reference
    if against == f"{difference.backend} float64":
        against = "its own float64"
    return f"{difference.backend} against {against}, {difference.dtype}"


def share(difference: Difference) -> float:
    """The part of its bound that a difference takes; infinite where it is no number, or there is no bound to divide."""
    if isnan(difference.relative) or (difference.relative and not difference.bound):
        return inf
    return difference.relative / difference.bound if difference.bound else 0.0


def share_text(difference: Difference) -> str:
    """That part in words: 28 %, 3.1 ×, 2e+09 ×, or that no number says it."""
    part = share(difference)
    if 0 < part < 0.001:
        return "under 0.1 %"
    if isinf(part):
        return "beyond measure"
    if difference.passed:
        return f"{100 * part:.2g} %"
    return f"{part:.3g} ×" if part < 1000 else f"{part:.0e} ×"


def worst(node: NodeReport) -> Difference:
    """The difference that takes most of its bound."""
    return max(node.differences, key=lambda difference: (not difference.passed, share(difference)))


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one backend with the same causes together, in the order in which the first of each stands."""
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        key = (finding.backend, finding.kind, finding.causes or finding.tried)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def heading(group: list[Finding]) -> str:
    """Where a group of findings begins, in a sentence without its full stop."""
    first, *more = group
    if first.kind == "assembly":
        return f"{first.backend} puts the network together otherwise at {first.node}"
    told = f"{first.backend} computes {first.node} otherwise"
    if more:
        told += f", and in the same way {len(more)} more: {', '.join(finding.node for finding in more)}"
    return told


def causes(group: list[Finding]) -> list[str]:
    """What explains a group of findings, or that nothing does, a sentence each."""
    first = group[0]
    if first.causes:
        return [f"cause, tried: {cause}" for cause in first.causes]
    if first.tried:
        return [f"none of {first.tried} causes that were tried explains it"]
    return ["no cause was tried"]


def verdict_of_nodes(report: ParityReport) -> str:
    """How many nodes are within their bounds."""
    return f"{sum(node.passed for node in report.nodes)} of {len(report.nodes)} nodes within their bounds"
