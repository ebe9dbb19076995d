"""A report as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from resnet_spec.comparison import Difference, Finding, NodeReport, ParityReport

WORST = 10
"""Nodes that a table of a bisection shows where all are within their bounds."""


def verdict(passed: bool) -> str:
    """In a word, with its colour."""
    return "[green]agrees[/green]" if passed else "[bold red]DIFFERS[/bold red]"


def differences_table(reports: Sequence[ParityReport]) -> Table:
    """One row a difference."""
    table = Table(box=None)
    training = any(d.quantity != "logits" for report in reports for d in report.differences)
    for heading in ("spec", "input", *(("what",) if training else ()), "dtype", "backend", "against"):
        table.add_column(heading, no_wrap=True)
    for heading in ("max |Δ|", "relative", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in reports:
        images = "×".join(map(str, (report.batch, *report.size)))
        for d in report.differences:
            what = (f"{d.quantity} {f'({d.subject})' if d.subject else ''}".strip(),) if training else ()
            table.add_row(report.spec, images, *what, d.dtype, d.backend, d.reference, *_figures(d), verdict(d.passed))
    return table


def nodes_table(nodes: Iterable[NodeReport]) -> Table:
    """The nodes that add too much, or else those nearest to their bounds, each by its worst difference."""
    table = Table(box=None)
    for heading in ("node", "operation", "dtype", "backend"):
        table.add_column(heading, no_wrap=True)
    for heading in ("adds", "bound", "drift so far"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    every = list(nodes)
    shown = [node for node in every if not node.passed]
    if not shown:
        names = {node.name for node in sorted(every, key=lambda node: -_share(worst(node)))[:WORST]}
        shown = [node for node in every if node.name in names]
    for node in shown:
        d = worst(node)
        figures = (f"{d.relative:.1e}", f"{d.bound:.1e}", f"{node.drift:.1e}")
        table.add_row(node.name, node.operation, d.dtype, d.backend, *figures, verdict(node.passed))
    return table


def worst(node: NodeReport) -> Difference:
    """The difference that takes up most of its bound."""
    return max(node.differences, key=_share)


def finding_lines(finding: Finding) -> list[str]:
    """A finding in words."""
    if finding.kind == "node":
        first = f"{finding.backend} differs first at {finding.node}"
    else:
        first = f"{finding.backend} puts the network together otherwise at {finding.node}"
    if finding.causes:
        return [first, *(f"  cause, tried: {cause}" for cause in finding.causes)]
    return [first, f"  none of {finding.tried} causes that were tried explains it"]


def _share(difference: Difference) -> float:
    if difference.passed:
        return difference.relative / difference.bound if difference.bound else 0.0
    return float("inf")


def _figures(difference: Difference) -> tuple[str, str, str]:
    return f"{difference.largest:.1e}", f"{difference.relative:.1e}", f"{difference.bound:.1e}"
