"""One side of a comparison in a file: what it holds, what it is compared with, and what is refused."""

from __future__ import annotations

import json
import platform
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import WeightsError, initialize, load, write_weights
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE
from resnet_spec.parity.trace import TRACE, Trace, compare_with_trace, machine, read_trace, record
from resnet_spec.weights.formats.safetensors import read_safetensors, write_safetensors
from resnet_spec.weights.io import FINGERPRINT, GRAPH
from tests.needs import need
from tests.third_party import WRONG_BACKENDS, distribution, on_path

# Ends in a softmax, which no comparison looks at.
SPEC = """\
input: {channels: 3, height: 12, width: 11}
parameters: {width: 4}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
  act: relu
stem:
  conv1: {conv2d: {channels: width, kernel: 3, stride: 2, padding: 1}}
  bn1: norm
  relu: act
stages:
  layer1: {block: basic_block, channels: 6, stride: 2}
head:
  avgpool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: 5}}
  softmax: softmax
"""

BACKENDS = """\
import os, signal
from resnet_spec import Graph
from resnet_spec_torch import TorchBackend

class Crossed(TorchBackend):
    name = "crossed"

    def compile(self, graph, **options):
        past = graph.by_name.get("layer1.0.bn1")
        nodes = [
            node.model_copy(update={"inputs": (past.name,)}) if past and node.name == "layer1.0.conv2" else node
            for node in graph.nodes
        ]
        fields = {name: getattr(graph, name) for name in Graph.model_fields}
        return super().compile(Graph.model_construct(**fields | {"nodes": tuple(nodes)}), **options)

class Interrupting(TorchBackend):
    name = "interrupting"

    def compile(self, *arguments, **options):
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()
"""

pytestmark = pytest.mark.usefixtures("kept_backends")

Edit = Callable[[dict[str, Any], dict[str, str]], object]
"""Changes the tensors or the metadata of a trace."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "thin.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def recorded(spec: Path, kept_backends: None) -> tuple[Path, Trace]:
    """A trace by PyTorch with every node's value, as a file and as it was returned."""
    path = spec.with_name("trace.safetensors")
    return path, record(spec, "torch", path, seed=3, batch=3, nodes=True)


@pytest.fixture(scope="module")
def trace(recorded: tuple[Path, Trace]) -> Path:
    return recorded[0]


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends of another distribution, on the path of this process and of its workers."""
    folder = tmp_path / "third-party"
    wrong = {name: f"wrong_backends:{name.title()}" for name in ("epsilon", "coarse", "killed")}
    distribution(
        folder,
        "third",
        wrong | {"interrupting": "backends:Interrupting", "crossed": "backends:Crossed"},
        WRONG_BACKENDS,
    )
    (folder / "backends.py").write_text(BACKENDS)
    on_path(monkeypatch, folder)


# -- recording -----------------------------------------------------------------------------------------------------


def test_a_trace_read_back_is_what_was_recorded(recorded: tuple[Path, Trace]) -> None:
    path, made = recorded
    read = read_trace(path)
    assert read.graph == made.graph
    for one, other in ((read.weights, made.weights), (read.nodes, made.nodes), (_logits(read), _logits(made))):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert np.array_equal(read.images, made.images)
    assert (read.source, read.seed, read.weights_source, len(read.images)) == ("torch", 3, "random", 3)
    assert (read.environment, read.machine) == (made.environment, made.machine)


def _logits(trace: Trace) -> Mapping[str, Any]:
    assert trace.rounded is not None
    return {"exact": trace.exact, "rounded": trace.rounded}


def test_a_trace_is_of_the_logits_and_of_every_node_before_them(trace: Path) -> None:
    read = read_trace(trace)
    assert read.graph.outputs == ("fc",)
    assert list(read.nodes) == [node.name for node in read.graph.nodes]
    assert np.array_equal(read.nodes["fc"], read.exact)
    rounded = _logits(read)["rounded"]
    assert (read.exact.dtype.name, rounded.dtype.name) == ("float64", "float32")
    assert 0 < abs(rounded - read.exact).max() < 1e-4


def test_a_trace_says_what_made_it_and_not_where(trace: Path) -> None:
    read = read_trace(trace)
    assert read.environment.keys() >= {"torch", "threads", "tf32", "onednn"}
    assert read.machine == machine()
    assert read.machine.keys() == {"processor", "cores", "system", "libc", "python", "resnet-spec", "byte order"}
    said = read_safetensors(trace).metadata[TRACE]
    assert str(trace.parent) not in said
    assert platform.node() not in json.loads(said)["machine"].values()


@pytest.mark.slow
def test_given_weights_of_a_network_of_vectors_are_recorded(tmp_path: Path) -> None:
    spec, weights, path = (tmp_path / name for name in ("vector.yaml", "mine.safetensors", "trace.safetensors"))
    spec.write_text("input: {features: 6}\nparameters: {classes: 4}\nstem: {fc: {linear: {features: classes}}}\n")
    graph = load(spec, {"parameters.classes": 7}).to_graph()
    arrays = initialize(graph, 9)
    write_weights(weights, graph, arrays)
    record(spec, "torch", path, weights=weights, overrides={"parameters.classes": 7})
    read = read_trace(path)
    assert read.weights_source == "mine.safetensors"
    assert np.array_equal(read.weights["fc.weight"], arrays["fc.weight"])
    report = compare_with_trace(path, "torch", spec=spec, overrides={"parameters.classes": 7})
    assert report.passed
    assert (report.size, report.weights) == ((6,), "mine.safetensors")


def test_what_cannot_be_recorded_is_reported_before_a_backend_starts(
    spec: Path, tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_spec.parity.trace.started", None)
    there = tmp_path / "there.safetensors"
    there.touch()
    mistakes = {
        "a trace's file ends in .safetensors": (spec, "-o", tmp_path / "trace.npz"),
        "--force replaces it": (spec, "-o", there),
        "nowhere does not exist": (spec, "-o", tmp_path / "nowhere" / "trace.safetensors"),
        "no shipped spec is named 'resnet19'": ("resnet19", "-o", tmp_path / "trace.safetensors"),
        "has no published weights 'mine'": ("resnet18", "-o", tmp_path / "trace.safetensors", "--weights", "mine"),
        "missing.pt: no such file": (spec, "-o", tmp_path / "trace.safetensors", "--weights", tmp_path / "missing.pt"),
    }
    for message, arguments in mistakes.items():
        done = command("resnet-spec", "record", "--backend", "torch", *arguments)
        assert (done.status, message in done.err) == (2, True), done.err
    assert list(tmp_path.iterdir()) == [there]
    assert not there.read_bytes()


@pytest.mark.usefixtures("third_party")
def test_a_backend_that_dies_leaves_no_trace(spec: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    path = tmp_path / "out" / "trace.safetensors"
    path.parent.mkdir()
    done = command("resnet-spec", "record", spec, "--backend", "killed", "-o", path)
    assert done.status == 3
    assert "the killed backend's process was killed by SIGKILL" in done.err
    assert not list(path.parent.iterdir())


@pytest.mark.usefixtures("third_party")
def test_ctrl_c_leaves_no_trace_and_nothing_in_the_temporary_folder(
    spec: Path, tmp_path: Path, process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    out.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = process("resnet-spec", "record", spec, "--backend", "interrupting", "-o", out / "trace.safetensors")
    assert (done.status, done.err.splitlines()[-1]) == (130, "interrupted")
    assert not list(out.iterdir())
    assert not list(temporary.iterdir())


def test_an_interruption_while_it_is_written_keeps_the_trace_that_was_there(
    trace: Path, spec: Path, tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.safetensors"
    path.write_bytes(trace.read_bytes())

    def interrupted(path: Path, trace: Trace) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_spec.parity.trace.write_trace", interrupted)
    assert command("resnet-spec", "record", spec, "--backend", "torch", "-o", path, "--force").status == 130
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == trace.read_bytes()


# -- comparing -----------------------------------------------------------------------------------------------------


def test_the_same_backend_agrees_with_its_trace_to_the_bit(trace: Path, spec: Path) -> None:
    report = compare_with_trace(trace, "torch", spec=spec, bisect=True)
    assert report.passed
    exact, *rounded = report.differences
    assert (exact.dtype, exact.largest, exact.bound) == ("float64", 0, pytest.approx(RELATIVE_TOLERANCE))
    assert (exact.backend, exact.reference) == ("torch", "torch (trace)")
    assert [d.reference for d in rounded] == ["torch float64", "torch (trace) float64"]
    assert all(d.dtype == "float32" and d.bound == report.rounding_tolerance for d in rounded)
    assert [node.name for node in report.nodes] == [node.name for node in read_trace(trace).graph.nodes]
    assert not any(node.accumulated_error for node in report.nodes)
    assert (report.seed, report.batch, report.size) == (3, 3, (12, 11))
    assert set(report.environment) == {"torch", "torch (trace)"}
    assert all(found.keys() >= {"torch", "processor"} for found in report.environment.values())


@pytest.mark.usefixtures("third_party")
def test_a_wrong_backend_is_caught_at_the_node_that_is_wrong(trace: Path) -> None:
    report = compare_with_trace(trace, "epsilon", bisect=True)
    assert not report.passed
    assert [d.passed for d in report.differences] == [False, True, True]
    assert [node.name for node in report.nodes if not node.passed] == [
        "bn1", "layer1.0.bn1", "layer1.0.bn2", "layer1.0.downsample.1",
    ]  # fmt: skip
    assert {(finding.backend, finding.kind) for finding in report.findings} == {("epsilon", "node")}
    assert report.findings[0].node == "bn1"
    # In PyTorch, which made the trace and is installed here.
    assert {finding.causes for finding in report.findings} == {("epsilon 0.001 instead of 1e-05",)}


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("installed", "causes"),
    [((), ()), (("epsilon", "nowhere", "onnx"), ("epsilon 0.001 instead of 1e-05",))],
    ids=["no other backend", "no backend that made it"],
)
@pytest.mark.slow
def test_causes_are_tried_in_another_backend_where_there_is_one(
    installed: tuple[str, ...], causes: tuple[str, ...], trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_spec.parity.trace.backend_names", lambda: installed)
    report = compare_with_trace(trace, "epsilon", bisect=True)
    assert {(finding.causes, finding.tried > 0) for finding in report.findings} == {(causes, bool(causes))}


@pytest.mark.usefixtures("third_party")
@pytest.mark.slow
def test_correct_layers_that_are_connected_differently_are_found(trace: Path) -> None:
    report = compare_with_trace(trace, "crossed", bisect=True)
    assert all(node.passed for node in report.nodes)
    (finding,) = report.findings
    assert (finding.kind, finding.node) == ("assembly", "layer1.0.conv2")
    assert finding.causes == ("its input is layer1.0.bn1 instead of layer1.0.relu1",)


@pytest.mark.usefixtures("third_party")
def test_a_backend_that_rounds_too_much_is_compared_with_its_own_float64(trace: Path) -> None:
    report = compare_with_trace(trace, "coarse")
    assert [(d.backend, d.reference) for d in report.differences if not d.passed] == [("coarse", "coarse float64")]


@pytest.mark.slow
def test_the_other_framework_agrees_with_a_trace(trace: Path, process: Callable[..., Any]) -> None:
    need("tensorflow")
    done = process("resnet-spec", "parity", "--against", trace, "--backend", "tensorflow", "--bisect", "--json")
    assert done.status == 0, done.err
    (report,) = json.loads(done.out)
    assert report["passed"]
    assert set(report["environment"]) == {"tensorflow", "torch (trace)"}
    assert len(report["nodes"]) == len(read_trace(trace).graph.nodes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SPEC.replace("kernel: 3, stride: 2", "kernel: 3, stride: 1"), "'conv1' differs in 'stride'"),
        (SPEC.replace("relu: act", "relu0: act"), "the trace has 'relu' where the spec has 'relu0'"),
        (SPEC.replace("epsilon: 1e-5", "epsilon: 1e-4"), "'bn1' differs in 'epsilon': 1e-05 in the trace, 0.0001 in"),
        (SPEC.replace("features: 5", "features: 6"), "'fc' differs in 'features': 5 in the trace, 6 in the spec"),
    ],
)
def test_a_trace_of_another_network_is_refused_by_the_first_node_that_differs(
    text: str, message: str, trace: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(text)
    done = command("resnet-spec", "parity", other, "--against", trace, "--backend", "torch")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith(f"{trace}: is a trace of another network (thin, not other): ")
    assert message in line


def test_bisecting_needs_the_nodes(trace: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    path = edited(trace, tmp_path, lambda tensors, metadata: _drop(tensors, "nodes/"))
    done = command("resnet-spec", "parity", "--against", path, "--backend", "torch", "--bisect")
    assert done.status == 2
    assert done.err == f"{path}: the trace lacks the nodes' values; record it with 'resnet-spec record --nodes'\n"


def _drop(tensors: dict[str, Any], beginning: str) -> None:
    for name in [name for name in tensors if name.startswith(beginning)]:
        del tensors[name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "torch", "--seed", "1"], "--against cannot be combined with --seed"),
        (["--backend", "torch", "--size", "32"], "--against cannot be combined with --size"),
        (["--backend", "torch", "--batch", "3"], "--against cannot be combined with --batch"),
        (["--backend", "torch", "--weights", "w.pth"], "--against cannot be combined with --weights"),
        (["--backend", "torch", "--backends", "torch,onnx"], "--against cannot be combined with --backends"),
        (["--backend", "torch", "--training", "2"], "--against cannot be combined with --training"),
        (["--backend", "torch", "resnet18", "resnet34"], "--against cannot be combined with more than one spec"),
        ([], "--against TRACE and --backend NAME go together"),
    ],
)
def test_what_a_trace_fixes_cannot_be_asked_for(
    arguments: list[str], message: str, trace: Path, command: Callable[..., Any]
) -> None:
    done = command("resnet-spec", "parity", "--against", trace, *arguments)
    assert (done.status, message in done.err) == (2, True), done.err


def test_a_backend_alone_is_compared_with_nothing(command: Callable[..., Any]) -> None:
    done = command("resnet-spec", "parity", "resnet18", "--backend", "torch")
    assert (done.status, "--against TRACE and --backend NAME go together" in done.err) == (2, True)


# -- files that are no traces --------------------------------------------------------------------------------------


def edited(trace: Path, folder: Path, edit: Edit) -> Path:
    """A copy with other tensors or metadata."""
    checkpoint = read_safetensors(trace)
    tensors, metadata = dict(checkpoint.tensors), dict(checkpoint.metadata)
    edit(tensors, metadata)
    path = folder / "edited.safetensors"
    write_safetensors(path, tensors, metadata)
    return path


def said(**fields: Any) -> Edit:
    """Other fields among what the metadata say; None takes one out."""

    def edit(tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        found = {**json.loads(metadata[TRACE]), **fields}
        metadata[TRACE] = json.dumps({key: value for key, value in found.items() if value is not None})

    return edit


def shaped(name: str, *shape: int) -> Edit:
    """A tensor of another shape."""
    return lambda tensors, metadata: tensors.update({name: np.zeros(shape, tensors[name].dtype)})


def lacking(name: str) -> Edit:
    """A tensor less."""
    return lambda tensors, metadata: tensors.pop(name)


def other_graph(tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    metadata[GRAPH] = metadata[GRAPH].replace('"epsilon":0.00001', '"epsilon":0.0001')


EDITS: dict[str, tuple[Edit, str]] = {
    "no trace": (lambda tensors, metadata: metadata.pop(TRACE), "is not a trace; write one with 'resnet-spec record'"),
    "no JSON": (lambda tensors, metadata: metadata.update({TRACE: "{"}), "its metadata are not JSON"),
    "too deep": (lambda tensors, metadata: metadata.update({TRACE: "[" * 10**5}), "its metadata are not JSON"),
    "a list": (lambda tensors, metadata: metadata.update({TRACE: "[]"}), "its metadata: "),
    "another format": (said(format=2), "is a trace of format 2; this version reads format 1"),
    "no format": (said(format=None), "its metadata: needs 'format'"),
    "no source": (said(source=None), "its metadata: needs 'source'"),
    "a seed below 0": (said(seed=-1), "seed: "),
    "a seed of text": (said(seed="3"), "seed: must be a whole number"),
    "an environment of lists": (said(environment=[["torch", "2"]]), "environment: must be a mapping"),
    "a machine of numbers": (said(machine={"cores": 2}), "machine.cores: must be text"),
    "something more": (said(host="mine"), "its metadata: unknown key 'host'"),
    "no graph": (lambda tensors, metadata: metadata.pop(GRAPH), "its graph cannot be read"),
    "half a graph": (
        lambda tensors, metadata: metadata.update({GRAPH: metadata[GRAPH][:-9]}), "its graph cannot be read",
    ),
    "a graph of nothing": (lambda tensors, metadata: metadata.update({GRAPH: "{}"}), "its graph cannot be read"),
    "another graph": (other_graph, "the trace's graph is not the one its fingerprint names"),
    "no fingerprint": (lambda tensors, metadata: metadata.pop(FINGERPRINT), "not the one its fingerprint names"),
    "no images": (lacking("input"), "(input is missing)"),
    "no logits": (lacking("logits/float64"), "(logits/float64 is missing)"),
    "no kernel": (lacking("weights/conv1.weight"), "(weights/conv1.weight is missing)"),
    "images of nothing": (shaped("input"), "input has shape [] in the trace"),
    "none of the images": (shaped("input", 0, 3, 12, 11), "input has shape [0, 3, 12, 11] in the trace"),
    "images of another size": (shaped("input", 3, 3, 11, 12), "input has shape [3, 3, 11, 12] in the trace"),
    "fewer images": (shaped("input", 2, 3, 12, 11), "has shape [3, "),
    "fewer logits": (shaped("logits/float64", 3, 4), "logits/float64 has shape [3, 4] in the trace, not [3, 5]"),
    "rounded otherwise": (shaped("logits/float32", 1, 5), "logits/float32 has shape [1, 5] in the trace"),
    "a thinner kernel": (shaped("weights/conv1.weight", 4, 3, 3, 1), "weights/conv1.weight has shape [4, 3, 3, 1]"),
    "a smaller node": (shaped("nodes/relu", 3, 4, 6, 5), "nodes/relu has shape [3, 4, 6, 5] in the trace"),
    "whole numbers": (
        lambda tensors, metadata: tensors.update({"input": tensors["input"].astype("int8")}), "input holds int8",
    ),
    "an unknown node": (
        lambda tensors, metadata: tensors.update({"nodes/conv9": tensors["nodes/fc"]}),
        "nodes/conv9 is in the trace, but not in its graph",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), EDITS.values(), ids=EDITS)
def test_an_incomplete_trace_is_rejected_in_one_line(
    edit: Edit, message: str, trace: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    path = edited(trace, tmp_path, edit)
    done = command("resnet-spec", "parity", "--against", path, "--backend", "torch")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith(f"{path}: ")
    assert message in line


def test_an_unedited_copy_is_a_trace(trace: Path, tmp_path: Path) -> None:
    assert read_trace(edited(trace, tmp_path, lambda tensors, metadata: None)).source == "torch"


def test_a_file_cut_short_is_refused(trace: Path, tmp_path: Path) -> None:
    whole = trace.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (0, 7, 8, 100, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.safetensors: is not a whole safetensors file"):
            read_trace(path)
    with pytest.raises(WeightsError, match=r"lacking\.safetensors: is not a whole safetensors file \(No such file"):
        read_trace(path.with_name("lacking.safetensors"))


def test_whatever_byte_of_the_header_changes_nothing_but_a_refusal_is_raised(trace: Path, tmp_path: Path) -> None:
    whole = trace.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "changed.safetensors"
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.randrange(length)] = rng.randrange(256)
        path.write_bytes(changed)
        problem = _problem(path)
        assert "\n" not in problem
        refused += bool(problem)
    assert refused > 150


def _problem(path: Path) -> str:
    """Why a file is refused; empty where it is not, as a name or a number may be another."""
    try:
        read_trace(path)
    except WeightsError as error:
        return str(error)
    return ""


def test_weights_are_no_trace(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    graph = resnet_spec.load("resnet18", {"stages.layer4": None, "head": None}).to_graph()
    write_weights(path, graph, initialize(graph))
    with pytest.raises(WeightsError, match="is not a trace; write one with 'resnet-spec record'"):
        compare_with_trace(path, "torch")
