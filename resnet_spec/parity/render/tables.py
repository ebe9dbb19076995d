"""Reports as tables for a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_spec.parity.render.words import (
    causes,
    grouped,
    heading,
    input_text,
    share,
    subject,
    verdict_of_nodes,
    worst,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from resnet_spec.parity.report import Difference, Finding, NodeReport, ParityReport

MOST = 10
"""The largest number of nodes that a table of a bisection shows."""


def parts(reports: Sequence[ParityReport]) -> Iterator[RenderableType]:
    """Yield what a terminal shows of each report."""
    for index, report in enumerate(reports):
        if index:
            yield ""
        yield from _parts(report)
    if len(reports) > 1:
        yield f"\n{sum(report.passed for report in reports)} of {len(reports)} specs agree"


def _parts(report: ParityReport) -> Iterator[RenderableType]:
    yield Text.assemble((report.spec, "bold"), f"  {input_text(report)}  ", _verdict(report.passed), overflow="fold")
    logits = [d for d in report.differences if d.quantity == "logits"]
    parameters = [d for d in report.differences if d.quantity == "parameters"]
    training = [d for d in report.differences if d.quantity not in ("logits", "parameters")]
    for difference in report.structure:
        yield Text(difference.message)
    if parameters:
        yield _parameters_table(parameters[:MOST])
        yield f"{len(parameters)} parameters of the given weights differ from the model's\n"
    if logits:
        yield _logits_table(logits)
    if training:
        yield ""
        yield from _training_tables(training)
    if report.nodes:
        shown = _shown(report.nodes)
        which = "the nearest to them" if shown[0].passed else "the first that exceed them"
        yield f"\n{verdict_of_nodes(report)}; {which}:"
        yield _nodes_table(shown)
    every = (*report.differences, *(d for node in report.nodes for d in node.differences))
    if any(d.size == 0 and d.largest for d in every):
        yield "\ninf: the reference is zero, and the absolute difference is compared"
    if report.remark:
        yield f"\n{report.remark}"
    for group in grouped(report.findings):
        yield ""
        yield from _finding(group)
    for note in report.notes:
        yield Text(f"note: {note}")


def _verdict(passed: bool) -> Text:
    return Text("agrees", "green") if passed else Text("DIFFERS", "bold red")


def _logits_table(differences: Iterable[Difference]) -> Table:
    table = _table(("backend", "dtype", "against"), ("max |Δ|", "relative", "bound"))
    for d in differences:
        figures = (d.largest, d.relative, d.bound)
        table.add_row(d.backend, d.dtype, d.reference, *map(_figure, figures), _verdict(d.passed))
    return table


def _parameters_table(differences: Iterable[Difference]) -> Table:
    """Return a table of parameters that should be equal."""
    table = _table(("parameter",), ("max |Δ|", "relative"))
    for d in differences:
        table.add_row(Text(d.subject), *map(_figure, (d.largest, d.relative)), _verdict(d.passed))
    return table


def _training_tables(differences: Sequence[Difference]) -> Iterator[RenderableType]:
    """Yield a table for each precision."""
    for number, dtype in enumerate(dict.fromkeys(d.dtype for d in differences)):
        if number:
            yield ""
        table = _table((f"in training, {dtype}", "backend"), ("relative", "bound"))
        for d in differences:
            if d.dtype == dtype:
                table.add_row(Text(subject(d)), d.backend, _figure(d.relative), _figure(d.bound), _verdict(d.passed))
        yield table


def _nodes_table(nodes: Iterable[NodeReport]) -> Table:
    """Return a table of nodes, each with the difference that uses most of its bound; all passed, or none did."""
    table = _table(("node", "backend", "dtype"), ("relative", "bound", "accumulated"), verdict=False)
    for node in nodes:
        d = worst(node)
        table.add_row(Text(node.name), d.backend, d.dtype, *map(_figure, (d.relative, d.bound, node.accumulated_error)))
    return table


def _shown(nodes: Sequence[NodeReport]) -> list[NodeReport]:
    """Return the first nodes that exceed their bounds; if there are none, the nearest to their bounds."""
    failed = [node for node in nodes if not node.passed]
    if failed:
        return failed[:MOST]
    names = {node.name for node in sorted(nodes, key=lambda node: -share(worst(node)))[:MOST]}
    return [node for node in nodes if node.name in names]


def _finding(group: list[Finding]) -> Iterator[RenderableType]:
    yield Text(heading(group))
    for cause in causes(group):
        yield Padding(Text(cause), (0, 0, 0, 2), expand=False)


def _table(words: Sequence[str], figures: Sequence[str], *, verdict: bool = True) -> Table:
    """Columns of words, the first of which wraps where a terminal is narrow, and of figures."""
    table = Table(box=None)
    first, *others = words
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    if verdict:
        table.add_column("verdict", no_wrap=True)
    return table


def _figure(value: float) -> str:
    return f"{value:.1e}"
