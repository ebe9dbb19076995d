"""Specs are compared with models of other libraries: structure, weights, values, and what is wrong with a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import BackendError, ModelError, SpecError, compare_with_model, load
from resnet_spec.backend import SourceModel
from resnet_spec.importing.importer import read_source
from resnet_spec.parity.model import ModelComparison
from resnet_spec.parity.source_process import SourceProcess
from tests.needs import posix

SPEC = """
input: {channels: 3, height: 12, width: 12}
layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}}
stem:
  conv1: {conv2d: {channels: 6, kernel: 3, padding: 1}}
  bn1: norm
  relu1: relu
head:
  conv2: {conv2d: {channels: 8, kernel: 3, stride: 2, padding: 1}}
  bn2: norm
  avgpool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: 5}}
"""

MODELS = """
import os, sys, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, eps=1e-5, momentum=0.1, classes=5, channels=3, dropout=0):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(channels, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, momentum=momentum)
        self.second = nn.Conv2d(6, 8, 3, 2, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(8, eps=eps)
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(self.drop(self.last_norm(self.second(x)).mean((2, 3))))

def make():
    print("what a model prints is not the report")
    return Net()

def epsilon():
    return Net(eps=1e-3)

def momentum():
    return Net(momentum=0.01)

def dropout():
    return Net(dropout=0.5)

def everything():
    return Net(eps=1e-3, momentum=0.01, dropout=0.5)

def gray():
    return Net(channels=1)

def vectors():
    return nn.Linear(7, 5)

def classes():
    return Net(classes=7)

def softmax():
    return nn.Sequential(Net(), nn.Softmax(1))

def crashes():
    os.kill(os.getpid(), 11)

def leaves():
    sys.exit("no more")

def waits():
    time.sleep(600)

def reads():
    return input("your name: ")

def unknown():
    return nn.Sequential(Net(), nn.Hardshrink())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "thin.yaml").write_text(SPEC)
    (folder / "models_of_mine.py").write_text(MODELS)
    return folder


@pytest.fixture
def spec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The spec's name, in the folder that the models are in."""
    monkeypatch.chdir(folder)
    prepend: Any = monkeypatch.syspath_prepend  # pyright: ignore[reportUnknownMemberType]
    prepend(str(folder))
    return "thin.yaml"


@pytest.fixture(scope="module")
def comparison(kept_backends: None) -> Iterator[ModelComparison]:
    with ModelComparison.starting(["torch"]) as started:
        yield started


@pytest.fixture
def source(spec: str) -> SourceModel:
    return read_source("models_of_mine:make", (3, 12, 12))


# -- models that are what the spec says ----------------------------------------------------------------------------


def test_a_model_of_the_same_network_agrees_at_every_node(
    comparison: ModelComparison, source: SourceModel, spec: str
) -> None:
    report = comparison.run(spec, source, bisect=True, batch=3)
    assert report.passed
    assert (report.structure, report.findings, report.weights) == ((), (), "the model's")
    assert {difference.backend for difference in report.differences} == {"torch", "the model"}
    assert [node.name for node in report.nodes] == [node.name for node in load(spec).to_graph().nodes]
    assert all(d.backend == "the model" and d.largest < d.allowed for n in report.nodes for d in n.differences)


def test_a_live_model_is_compared(spec: str, kept_backends: None) -> None:
    net: Any = import_module("models_of_mine").Net

    assert compare_with_model(spec, net(), ["torch"]).passed


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("onnx", "thin.onnx"),
        pytest.param("tensorflow", "thin.keras", marks=pytest.mark.slow),
        pytest.param("tensorflow", "thin", marks=pytest.mark.slow),
    ],
)
def test_a_file_and_several_backends_are_compared_node_by_node(
    library: str, name: str, spec: str, tmp_path: Path, kept_backends: None
) -> None:
    graph = load(spec).to_graph()
    resnet_spec.get_backend(library).write(resnet_spec.build(spec, library, seed=3), graph, tmp_path / name)
    report = compare_with_model(spec, tmp_path / name, ["torch", library], bisect=True)
    assert report.passed
    compared = [node.name for node in report.nodes if node.differences[-1].backend == "the model"]
    assert compared == [node.name for node in graph.nodes]
    assert {"torch", library, "the model"} <= {*report.environment}


def test_the_logits_are_compared_before_a_softmax(comparison: ModelComparison, spec: str) -> None:
    report = comparison.run(spec, read_source("models_of_mine:softmax", (3, 12, 12)))
    assert report.passed
    assert "ends in a softmax, unlike the spec" in report.notes


def test_what_differs_in_training_only_is_a_note(comparison: ModelComparison, spec: str) -> None:
    report = comparison.run(spec, read_source("models_of_mine:momentum", (3, 12, 12)))
    assert report.passed
    assert report.notes == ("differs in training only: momentum 0.1 in the spec, 0.01 as the model was read (bn1)",)


@pytest.mark.parametrize(
    ("rate", "note"),
    [
        (None, "nothing in the spec, dropout 0.5 as the model was read (after avgpool)"),
        (0.2, "dropout 0.2 in the spec, dropout 0.5 as the model was read (after avgpool)"),
        (0.5, ""),
    ],
)
def test_another_dropout_is_a_note(
    comparison: ModelComparison, spec: str, folder: Path, rate: float | None, note: str
) -> None:
    path = folder / "dropped.yaml"
    # After the flatten, where the model has it before.
    text = SPEC if rate is None else SPEC.replace("  fc:", f"  drop: {{dropout: {{rate: {rate}}}}}\n  fc:")
    path.write_text(text, "utf-8")
    report = comparison.run(str(path), read_source("models_of_mine:dropout", (3, 12, 12)))
    assert report.passed
    assert report.notes == ((f"differs in training only: {note}",) if note else ())


# -- models that are not -------------------------------------------------------------------------------------------


def test_a_structural_difference_is_reported_instead_of_values(comparison: ModelComparison, spec: str) -> None:
    report = comparison.run(spec, read_source("models_of_mine:epsilon", (3, 12, 12)), bisect=True)
    (difference,) = report.structure
    assert not report.passed
    assert (difference.node, difference.counterpart, report.differences) == ("bn2", "last_norm", ())
    assert difference.message.endswith("differ in epsilon: 1e-05 and 0.001")


def test_another_number_of_classes_is_a_structural_difference(comparison: ModelComparison, spec: str) -> None:
    report = comparison.run(spec, read_source("models_of_mine:classes", (3, 12, 12)))
    assert [(found.node, found.counterpart) for found in report.structure] == [("fc", "head"), ("fc", "head")]
    assert report.structure[0].message == "'fc.weight' is 7×8 in the model, but 5×8 in the spec"


def rounded(source: SourceModel, name: str) -> SourceModel:
    """A model that computes one of its nodes in bfloat16, and from there on as it would."""
    import torch

    net: Any = import_module("models_of_mine").Net

    model = net().eval()
    layer: Any = getattr(model, name)
    own = layer.forward
    found: dict[str, Any] = {}

    def forward(x: Any) -> Any:
        return own(x).to(torch.bfloat16).float()

    def keeping(path: str) -> Callable[[Any, Any, Any], None]:
        def keep(module: Any, given: Any, value: Any) -> None:
            found[path] = value.numpy()

        return keep

    layer.forward = forward
    for path in ("stem", "norm", "second", "last_norm", "head"):
        getattr(model, path).register_forward_hook(keeping(path))

    def run(images: Any) -> list[Any]:
        with torch.no_grad():
            return [model(torch.as_tensor(images)).numpy()]

    def values(images: Any, names: Sequence[str]) -> dict[str, Any]:
        run(images)
        return {path: value for path, value in found.items() if path in names}

    return replace(source, run=run, values=values)


def test_the_first_node_that_differs_is_named_by_both_names(
    comparison: ModelComparison, source: SourceModel, spec: str
) -> None:
    report = comparison.run(spec, rounded(source, "second"), bisect=True)
    assert not report.passed
    (finding,) = report.findings
    assert (finding.backend, finding.node, finding.counterpart) == ("the model", "conv2", "second")
    assert finding.causes == ("the result in bfloat16",)
    assert report.notes == ("3 of 8 nodes have no value of their own in the model",)


@pytest.mark.slow
def test_the_layer_of_a_keras_model_that_differs_is_named(comparison: ModelComparison, spec: str) -> None:
    model: Any = resnet_spec.build(spec, "tensorflow", seed=3)
    layer = model.get_layer("conv2")
    own = layer.call
    layer.call = lambda x: own(x) * 1.01
    report = comparison.run(spec, read_source(model, (3, 12, 12)), bisect=True)
    assert not report.passed
    assert [(finding.backend, finding.node) for finding in report.findings] == [("the model", "conv2")]


def test_logits_alone_do_not_say_where(comparison: ModelComparison, source: SourceModel, spec: str) -> None:
    report = comparison.run(spec, rounded(source, "second"))
    assert [(d.backend, d.passed) for d in report.differences] == [("torch", True), ("the model", False)]
    assert report.findings == ()


def test_a_library_without_inner_values_says_so(comparison: ModelComparison, source: SourceModel, spec: str) -> None:
    report = comparison.run(spec, replace(source, values=None), bisect=True)
    assert report.passed
    assert report.nodes == ()
    assert "the model's library gives no inner values, so that only its outputs were compared" in report.notes


def test_given_weights_are_compared_with_the_models(
    comparison: ModelComparison, source: SourceModel, spec: str, tmp_path: Path
) -> None:
    graph = load(spec).to_graph()
    theirs = dict(zip((p.name for p in graph.parameters()), source.arrays.values(), strict=True))
    path = tmp_path / "given.safetensors"
    resnet_spec.write_weights(path, graph, theirs)
    assert comparison.run(spec, source, weights=path).passed
    changed = theirs | {"bn2.running_mean": theirs["bn2.running_mean"] + np.float32(1e-3)}
    resnet_spec.write_weights(tmp_path / "changed.safetensors", graph, changed)
    report = comparison.run(spec, source, weights=tmp_path / "changed.safetensors", bisect=True)
    first, *_ = report.differences
    assert (first.quantity, first.subject, first.passed) == ("parameters", "bn2.running_mean", False)
    assert report.findings[0].node == "bn2"


# -- models that cannot be compared --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("gray", "the model's input is 1×12×12, but the spec's is 3×12×12"),
        ("vectors", "the model's input is 7, but the spec's is 3×12×12"),
    ],
)
def test_an_input_of_another_shape_is_one_line(
    function: str, message: str, comparison: ModelComparison, spec: str
) -> None:
    shape = (1, 12, 12) if function == "gray" else (7,)
    with pytest.raises(ModelError, match=f"^{message}$"):
        comparison.run(spec, read_source(f"models_of_mine:{function}", shape))


@posix
def test_whatever_a_model_does_to_its_process_is_one_line(spec: str, folder: Path) -> None:
    for function, kind, message in (
        ("crashes", BackendError, "the model's process was killed by SIGSEGV"),
        ("leaves", BackendError, "the model's process ended with status 1: no more"),
        ("reads", ModelError, "models_of_mine:reads raised EOFError: EOF when reading a line"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
            with SourceProcess() as process, pytest.raises(kind) as raised:
                process.read(f"models_of_mine:{function}", [(3, 12, 12)])
            assert str(raised.value) == message


def test_a_model_that_never_ends_is_ended(spec: str, folder: Path) -> None:
    with SourceProcess(seconds=20) as process, pytest.raises(BackendError) as raised:
        process.read("models_of_mine:waits", [(3, 12, 12)])
    assert str(raised.value) == "the model did not answer within 20 s, and was ended"


def test_a_comparison_takes_a_list_of_backends() -> None:
    with pytest.raises(SpecError, match="takes one backend or more"):
        compare_with_model("resnet18", "model.onnx", "torch")


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_reports_in_every_form(spec: str, command: Callable[..., Any], kept_backends: None) -> None:
    reports = ["--junit", "report.xml", "--html", "report.html"]
    against = ["parity", spec, "--against", "models_of_mine:epsilon", "--backend", "torch"]
    done = command("resnet-spec", *against, "--bisect", *reports, "--json")
    assert done.status == 1
    (entry,) = json.loads(done.out)
    assert (entry["passed"], entry["structure"][0]["node"]) == (False, "bn2")
    assert entry["deviation"] is None
    sentence = "(batch_norm) in the model differ in epsilon: 1e-05 and 0.001"
    assert sentence in Path("report.xml").read_text("utf-8")
    page = Path("report.html").read_text("utf-8")
    assert f"{sentence}." in page
    assert "nothing was computed" in page
    done = command("resnet-spec", *against)
    assert (done.status, sentence in done.out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["thin.yaml", "--backend", "torch", "--backends", "torch,onnx"], "give --backend or --backends, not both"),
        (["thin.yaml", "--training", "2"], "--against MODEL cannot be combined with --training"),
        (["thin.yaml", "resnet18"], "--against MODEL takes one SPEC"),
        ([], "--against MODEL takes one SPEC"),
    ],
)
def test_what_makes_no_sense_with_a_model_is_a_usage_error(
    arguments: list[str], message: str, spec: str, command: Callable[..., Any]
) -> None:
    done = command("resnet-spec", "parity", "--against", "model.onnx", *arguments)
    assert (done.status, message in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.onnx", None, "missing.onnx: does not exist"),
        ("notes.txt", b"text", "notes.txt: no installed backend imports .txt (known: "),
        ("weights.pth", b"\x80\x02", "weights.pth: no installed backend imports .pth (known: "),
        ("text.onnx", b"not a model", "text.onnx: "),
        ("weights.safetensors", b"\x02\0\0\0\0\0\0\0{}", "weights.safetensors: is not a trace; "),
    ],
)
def test_what_is_no_model_is_one_line(
    name: str, content: bytes | None, message: str, spec: str, folder: Path, command: Callable[..., Any]
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    done = command("resnet-spec", "parity", spec, "--against", name, "--backend", "torch")
    assert (done.status, done.out) == (2, ""), done
    (line,) = [line for line in done.err.splitlines() if not line.endswith("…")]
    assert line.startswith(message)
