"""JUnit XML: what differs is a failure with its figures and causes, what could not be done is an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import resnet_spec.parity.compare
from resnet_spec.errors import BackendError
from resnet_spec.parity.render.junit import junit_error, junit_xml
from resnet_spec.parity.report import Finding

Counts = tuple[str | None, str | None, str | None]


def counts(element: ElementTree.Element) -> Counts:
    return element.get("tests"), element.get("failures"), element.get("errors")


def case(suite: ElementTree.Element, beginning: str) -> ElementTree.Element:
    (found,) = (case for case in suite.iter("testcase") if (case.get("name") or "").startswith(beginning))
    return found


def test_what_agrees_passes_with_its_surroundings_as_properties(handmade: Any) -> None:
    root = ElementTree.fromstring(junit_xml([handmade.report(nodes=(handmade.node("conv1", 0.5),))]))
    (suite,) = root
    assert (root.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", "family/net")
    assert counts(root) == counts(suite) == ("3", "0", "0")
    assert [case.get("name") for case in suite.iter("testcase")] == [
        "logits (tensorflow against torch, float64)",
        "logits (tensorflow against its own float64, float32)",
        "node conv1 (conv2d)",
    ]
    assert {case.get("classname") for case in suite.iter("testcase")} == {"family/net"}
    properties = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert properties["torch.threads"] == "2"
    assert properties["seed"] == "7"
    assert properties["fingerprint"] == "f" * 64


def test_what_differs_fails_with_its_figures_and_causes(handmade: Any) -> None:
    nodes = handmade.node("conv1", 0.5), handmade.node("bn1", 4.0, 0.5), handmade.node("bn2", 4.0)
    findings = tuple(
        Finding("tensorflow", node.name, "node", node.differences[0], ("epsilon 0.001 instead of 1e-05",), 19)
        for node in nodes[1:]
    )
    logits = handmade.difference(0.25)
    root = ElementTree.fromstring(junit_xml([handmade.report(differences=(logits,), nodes=nodes, findings=findings)]))
    assert counts(root) == ("4", "3", "0")
    failure = case(root, "node bn1").find("failure")
    assert failure is not None
    assert failure.get("message") == "4.0e-14, where 1.0e-14 is allowed (4 ×)"
    assert failure.text == (
        "tensorflow against torch, float64: 4.0e-14, where 1.0e-14 is allowed (4 ×)\n"
        "tensorflow computes bn1 differently\n  confirmed cause: epsilon 0.001 instead of 1e-05"
    )
    of_logits = case(root, "logits").find("failure")
    assert of_logits is not None
    assert "tensorflow computes bn1 differently, and 1 more in the same way: bn2" in (of_logits.text or "")
    assert case(root, "node conv1").find("failure") is None


def test_training_has_cases_of_its_own(handmade: Any) -> None:
    differences = [
        handmade.difference(quantity="gradients", subject="conv1.weight"),
        handmade.difference(nan, quantity="weights", subject="3 steps of sgd"),
    ]
    root = ElementTree.fromstring(junit_xml([handmade.report(differences=tuple(differences))]))
    assert counts(root) == ("2", "1", "0")
    failure = case(root, "weights: 3 steps of sgd").find("failure")
    assert failure is not None
    assert failure.get("message") == "not a number, where 1.0e-09 is allowed (not a number)"


def test_a_wrong_wiring_fails_though_every_node_is_right(handmade: Any) -> None:
    rewired = handmade.difference(0.4, quantity="assembly", subject="conv1")
    finding = Finding("tensorflow", "conv1", "assembly", rewired, ("its input is x instead of y",), 12)
    root = ElementTree.fromstring(
        junit_xml([handmade.report(nodes=(handmade.node("conv1", 0.5),), findings=(finding,))])
    )
    assert counts(root) == ("4", "1", "0")
    failure = case(root, "assembly of conv1").find("failure")
    assert failure is not None
    assert "its input is x instead of y" in (failure.text or "")


def test_what_could_not_be_compared_is_an_error_and_no_failure() -> None:
    root = ElementTree.fromstring(junit_error("family/net", "the torch backend's process was killed by SIGKILL"))
    assert counts(root) == ("1", "0", "1")
    (error,) = root.iter("error")
    assert error.get("message") == error.text == "the torch backend's process was killed by SIGKILL"
    assert list(root.iter("failure")) == []


def test_no_reported_text_breaks_the_file(handmade: Any) -> None:
    evil = '<&"\x1b[31m\x00\ud800\n]]>'
    root = ElementTree.fromstring(junit_xml([handmade.report(spec=evil, weights=evil)], {evil: evil}).encode())
    assert counts(root) == ("3", "0", "1")
    (error,) = root.iter("error")
    assert error.text == '<&"\ufffd[31m\ufffd\ufffd\n]]>'


# -- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, handmade: Any) -> Callable[[bool], None]:
    """Backends of which one dies at the second spec."""

    class Dying:
        def __init__(self, passes: bool) -> None:
            self.left = [handmade.report(spec="first", differences=(handmade.difference(0.0 if passes else 1.0),))]

        def run(self, spec: Any, **options: object) -> Any:
            if not self.left:
                raise BackendError("the torch backend's process was killed by SIGKILL")
            return self.left.pop()

    def prepare(passes: bool) -> None:
        @contextmanager
        def comparing(backends: Sequence[str], progress: object, replicas: int | None = None) -> Generator[Dying]:
            yield Dying(passes)

        monkeypatch.setattr(resnet_spec.parity.compare, "comparing", comparing)

    return prepare


@pytest.mark.parametrize("passes", [True, False])
def test_a_backend_s_death_is_reported_in_every_report_and_exits_with_3(
    dying: Callable[[bool], None], command: Callable[..., Any], tmp_path: Path, passes: bool
) -> None:
    dying(passes)
    xml, page = tmp_path / "junit.xml", tmp_path / "page.html"
    done = command(
        "resnet-spec", "parity", "resnet18", "resnet34", "resnet50", "--junit", xml, "--html", page, "--json"
    )
    assert done.status == 3
    assert "killed by SIGKILL" in done.err
    message = "the torch backend's process was killed by SIGKILL"
    first, *others = json.loads(done.out)
    assert (first["spec"], first["passed"]) == ("first", passes)
    assert others == [{"spec": name, "passed": None, "error": message} for name in ("resnet34", "resnet50")]
    root = ElementTree.parse(xml).getroot()
    assert [suite.get("name") for suite in root] == ["first", "resnet34", "resnet50"]
    assert counts(root) == ("3", "0" if passes else "1", "2")
    assert page.read_text("utf-8").count(">not compared<") == 2


def test_a_backend_s_death_leaves_what_was_found_in_the_terminal(
    dying: Callable[[bool], None], command: Callable[..., Any]
) -> None:
    dying(False)
    done = command("resnet-spec", "parity", "resnet18", "resnet34")
    assert done.status == 3
    assert "DIFFERS" in done.out
    assert "killed by SIGKILL" in done.err


def test_where_reports_cannot_be_written_it_is_reported_before_the_work(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(resnet_spec.parity.compare, "comparing", None)
    done = command("resnet-spec", "parity", "resnet18", "--junit", tmp_path / "nowhere" / "junit.xml")
    assert done.status == 2
    assert "nowhere does not exist" in done.err
    assert done.out == ""
