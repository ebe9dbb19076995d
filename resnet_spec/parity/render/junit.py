"""Reports as JUnit XML for CI servers: a suite for each spec, and a case for each difference and node.

A difference is a ``<failure>``; a spec that could not be compared is an ``<error>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from resnet_spec.drawing.words import legal
from resnet_spec.parity.render.words import (
    causes,
    figure,
    figures,
    grouped,
    heading,
    input_text,
    sides,
    subject,
)

if TYPE_CHECKING:
    from resnet_spec.parity.report import Difference, Finding, NodeReport, ParityReport


def junit_xml(reports: Sequence[ParityReport], errors: Mapping[str, str] | None = None) -> str:
    """Return a file for a whole run; ``errors`` are the messages of the specs that could not be compared."""
    suites = [_suite(report) for report in reports]
    suites += [_error(spec, message) for spec, message in (errors or {}).items()]
    root = ElementTree.Element("testsuites", name="resnet-spec parity")
    root.extend(suites)
    for element in (*suites, root):
        _count(element)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def junit_error(spec: str, message: str) -> str:
    """Return a file for a comparison that ended in an error."""
    return junit_xml([], {spec: message})


def _suite(report: ParityReport) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=legal(report.spec))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(report):
        ElementTree.SubElement(properties, "property", name=legal(name), value=legal(value))
    if report.structure:
        case = _case(suite, report.spec, "structure")
        messages = [legal(found.message) for found in report.structure]
        ElementTree.SubElement(case, "failure", message=messages[0], type="structure").text = "\n".join(messages)
    for difference in report.differences:
        case = _case(suite, report.spec, f"{subject(difference)} ({sides(difference)})")
        if not difference.passed:
            _fail(case, [difference], [f for f in report.findings if f.backend == difference.backend])
    for node in report.nodes:
        case = _case(suite, report.spec, f"node {node.name} ({node.operation})")
        if not node.passed:
            _fail(case, _failed(node), [f for f in report.findings if f.node == node.name])
    for finding in report.findings:
        if finding.kind == "assembly":
            case = _case(suite, report.spec, f"assembly of {finding.node} ({finding.backend})")
            _fail(case, [finding.difference], [finding])
    return suite


def _error(spec: str, message: str) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=legal(spec))
    case = _case(suite, spec, "comparison")
    ElementTree.SubElement(case, "error", message=legal(message), type="BackendError").text = legal(message)
    return suite


def _case(suite: ElementTree.Element, spec: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=legal(spec), name=legal(name))


def _fail(case: ElementTree.Element, differences: Sequence[Difference], findings: Iterable[Finding]) -> None:
    lines = [*(f"{sides(difference)}: {figures(difference)}" for difference in differences), *_reasons(findings)]
    failure = ElementTree.SubElement(case, "failure", message=legal(figures(differences[0])), type="difference")
    failure.text = legal("\n".join(lines))


def _reasons(findings: Iterable[Finding]) -> Iterator[str]:
    for group in grouped(findings):
        yield heading(group)
        yield from (f"  {cause}" for cause in causes(group))


def _failed(node: NodeReport) -> list[Difference]:
    return [difference for difference in node.differences if not difference.passed]


def _properties(report: ParityReport) -> Iterator[tuple[str, str]]:
    yield "fingerprint", report.fingerprint
    yield "input", input_text(report)
    yield "weights", report.weights
    yield "seed", str(report.seed)
    yield "deviation", figure(report.deviation)
    yield "rounding_tolerance", figure(report.rounding_tolerance)
    if report.remark:
        yield "remark", report.remark
    if report.notes:
        yield "notes", "; ".join(report.notes)
    for backend, settings in report.environment.items():
        yield from ((f"{backend}.{name}", value) for name, value in settings.items())


def _count(element: ElementTree.Element) -> None:
    """Cases, and how they ended, as attributes of what holds them."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))
