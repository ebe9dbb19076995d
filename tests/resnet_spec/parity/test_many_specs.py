"""A comparison of many specs goes on after one that cannot be compared, and says so everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree

import pytest

import resnet_spec
from resnet_spec import BackendError, SpecError
from resnet_spec.parity.compare import comparing

SPEC = "input: {features: 6}\nstem: {one: {linear: {features: 8}}, relu: relu, fc: {linear: {features: 3}}}\n"
NAMES = ("first", "refused", "second", "deadly", "third")


@pytest.fixture(autouse=True)
def specs(numpy_backends: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five specs, at two of which the backend ``refusing`` fails: it answers with an error, and it dies."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        Path(f"{name}.yaml").write_text(SPEC, "utf-8")


def test_the_rest_is_compared_and_each_report_tells_the_errors(command: Callable[..., Any]) -> None:
    files = [f"{name}.yaml" for name in NAMES]
    done = command(
        "resnet-spec",
        "parity",
        *files,
        "--backends",
        "plain,refusing",
        "--json",
        "--junit",
        "r.xml",
        "--html",
        "r.html",
    )
    assert done.status == 3
    entries = json.loads(done.out)
    assert [entry["spec"] for entry in entries] == ["first", "refused.yaml", "second", "deadly.yaml", "third"]
    assert [entry["passed"] for entry in entries] == [True, None, True, None, True]
    assert entries[1]["error"] == "the refusing backend failed: out of memory"
    assert entries[3]["error"].startswith("the refusing backend's process was killed by SIGKILL (")
    assert entries[3]["error"].endswith(": caf\\xe9 \\xff\\xfe")
    told = [line for line in done.err.splitlines() if not line.endswith("…")]
    assert told == [f"{name}: {entries[at]['error']}" for at, name in ((1, files[1]), (3, files[3]))]

    suites = ElementTree.parse("r.xml").getroot()
    assert {suite.get("name") for suite in suites} == {"first", "second", "third", "refused.yaml", "deadly.yaml"}
    assert (suites.get("errors"), suites.get("failures")) == ("2", "0")
    assert Path("r.html").read_text("utf-8").count("not compared") == 2


@pytest.mark.parametrize(("option", "kind"), [("--html", "HTML"), ("--junit", "XML")])
def test_a_report_does_not_replace_the_spec(command: Callable[..., Any], option: str, kind: str) -> None:
    done = command("resnet-spec", "parity", "first.yaml", "--backends", "plain,plain", option, "first.yaml")
    assert (done.status, done.out) == (2, "")
    assert done.err == f"first.yaml exists already and is not {kind}; it is not replaced\n"
    assert Path("first.yaml").read_text("utf-8") == SPEC


@pytest.mark.parametrize(
    ("backends", "files", "status"),
    [("plain,shifted", ["first.yaml", "second.yaml"], 1), ("shifted,refusing", ["first.yaml", "refused.yaml"], 3)],
)
def test_the_highest_status_is_that_of_the_run(
    command: Callable[..., Any], backends: str, files: list[str], status: int
) -> None:
    done = command("resnet-spec", "parity", *files, "--backends", backends)
    assert done.status == status
    assert "DIFFERS" in done.out


def test_a_comparison_goes_on_after_an_answered_error_and_after_a_death() -> None:
    with comparing(("plain", "refusing")) as comparison:
        for name in ("refused", "first", "deadly", "deadly", "second"):
            if name in ("refused", "deadly"):
                with pytest.raises(BackendError):
                    comparison.run(f"{name}.yaml")
            else:
                assert comparison.run(f"{name}.yaml", bisect=True).passed


def test_strings_are_not_read_letter_by_letter() -> None:
    with pytest.raises(SpecError, match=r"two backends or more, such as \('torch', 'tensorflow'\), not 'torch'"):
        resnet_spec.compare("first.yaml", "torch")
    with pytest.raises(SpecError, match=r"size is a pair \(height, width\), not '64'"):
        resnet_spec.compare("first.yaml", ("plain", "plain"), size="64")  # type: ignore[arg-type]


def test_a_loaded_spec_is_compared_as_it_is() -> None:
    spec = resnet_spec.load("first.yaml", {"stem.fc.linear.features": 2})
    assert resnet_spec.compare(spec, ("plain", "reordered")).passed
    with pytest.raises(SpecError, match="loaded already"):
        resnet_spec.compare(spec, ("plain", "reordered"), size=(6, 6))
    assert dedent(SPEC) == SPEC


def test_every_command_reads_a_spec_once(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from PIL import Image

    from resnet_spec.spec import loader

    read: list[Any] = []
    composed = loader.composed
    monkeypatch.setattr(loader, "composed", lambda path, *rest: read.append(path) or composed(path, *rest))
    graph = resnet_spec.load("first.yaml").to_graph()
    resnet_spec.write_weights("w.safetensors", graph, resnet_spec.initialize(graph))
    seen = resnet_spec.load("resnet18", ["input.height=32", "input.width=32"]).to_graph()
    resnet_spec.write_weights("r.safetensors", seen, resnet_spec.initialize(seen))
    Image.new("RGB", (40, 40)).save("a.png")

    def started(*_: object) -> None:
        raise BackendError("no backend is started here")

    monkeypatch.setattr("resnet_spec.vision.prediction.started", started)
    predict = ["predict", "resnet18", "a.png", "--weights", "r.safetensors", "--backends", "torch", "--preprocessing"]
    for arguments, specs in (
        (["show", "first.yaml", "--resolved"], 1),
        (["summary", "first.yaml"], 1),
        (["validate", "first.yaml", "second.yaml"], 2),
        (["convert", "first.yaml", "w.safetensors", "x.safetensors"], 1),
        (["record", "first.yaml", "--backend", "plain", "-o", "t.safetensors", "--weights", "w.safetensors"], 1),
        (["parity", "first.yaml", "second.yaml", "--backends", "plain,reordered"], 2),
        (["parity", "--against", "t.safetensors", "--backend", "plain", "first.yaml"], 1),
        ([*predict, "{resize: 32, crop: 32, mean: [0, 0, 0], std: [1, 1, 1]}"], 1),
    ):
        read.clear()
        command("resnet-spec", *arguments)
        assert len(read) == specs, arguments
    read.clear()
    command("resnet-build", "first.yaml", "--backend", "plain")
    assert len(read) == 1
