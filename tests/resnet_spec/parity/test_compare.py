"""Does the comparison agree where it should, and does it ring where a backend is wrong?"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import resnet_spec
from resnet_spec import BackendError, ParityReport, SpecError
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE
from tests.needs import need
from tests.resnet_spec.conftest import Outcome
from tests.shipped import slow_unless
from tests.third_party import WRONG_BACKENDS, distribution, on_path

WRONG = (
    "epsilon", "one_epsilon", "stride", "padding", "unpadded", "coarse", "killed", "killed_later", "failing",
    "failing_later", "noisy", "nan", "right",
)  # fmt: skip
SIZE = (64, 64)

pytestmark = pytest.mark.usefixtures("kept_backends")


@pytest.fixture(autouse=True)
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that provides the wrong backends, on the path of this process and of its workers."""
    classes = {name: "".join(part.title() for part in name.split("_")) for name in WRONG}
    backends = {name: f"wrong_backends:{kind}" for name, kind in classes.items()}
    distribution(tmp_path, "wrong", backends, WRONG_BACKENDS)
    on_path(monkeypatch, tmp_path)


def compared(backend: str, spec: str = "cifar/resnet20", **options: object) -> ParityReport:
    return resnet_spec.compare(spec, ("torch", backend), size=SIZE, **options)  # type: ignore[arg-type]


@pytest.fixture
def parity(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Run ``resnet-spec parity``."""
    return partial(command, "resnet-spec", "parity")


@pytest.mark.slow
def test_the_two_backends_agree_on_each_author_s_names(parity: Callable[..., Outcome]) -> None:
    need("tensorflow")
    specs = ["resnet18", "keras/resnet50", "tutorial/resnet18"]
    done = parity(*specs, "--size", "75x64", "--json")
    assert done.status == 0, done.err
    reports = json.loads(done.out)
    assert [report["passed"] for report in reports] == [True, True, True]
    assert [report["size"] for report in reports] == [[75, 64]] * 3
    assert set(reports[0]["environment"]) == {"torch", "tensorflow"}
    for report in reports:
        assert {d["dtype"] for d in report["differences"]} == {"float64", "float32"}
        assert 0.05 < report["deviation"] < 1e3


def test_a_right_third_party_backend_agrees_to_the_bit() -> None:
    report = compared("right")
    assert report.passed
    assert all(d.largest == 0 for d in report.differences if d.backend == "right" and d.reference == "torch")


def test_the_backends_agree_on_a_projection_head(tmp_path: Path) -> None:
    need("tensorflow")
    path = tmp_path / "head.yaml"
    path.write_text(
        "extends: cifar/resnet20\n"
        "stages: {layer2: null, layer3: null, layer1: {repeat: 1}}\n"
        "head: {linear: none, fc.0: {linear: {features: 8}}, fc.1: norm, fc.2: relu, fc.3: {linear: {features: 4}}}\n"
    )
    report = resnet_spec.compare(path, ("torch", "tensorflow", "onnx"), size=(16, 16))
    assert report.passed
    assert {(d.backend, d.dtype) for d in report.differences} == {
        *((name, "float64") for name in ("tensorflow", "onnx")),
        *((name, "float32") for name in ("torch", "tensorflow", "onnx")),
    }


@pytest.mark.slow
def test_what_a_backend_prints_does_no_harm() -> None:
    assert compared("noisy").passed


@pytest.mark.parametrize("wrong", slow_unless({"epsilon"}, ["epsilon", "stride", "padding"]))
def test_a_wrong_backend_is_caught_in_float64(wrong: str) -> None:
    # A basic block has no first 1×1 to which a stride could move.
    report = compared(wrong, "resnet50" if wrong == "stride" else "cifar/resnet20")
    assert not report.passed
    # It rounds no worse than others, and its float32 is compared with its own float64.
    assert failed(report) == [("float64", wrong, "torch")]


@pytest.mark.slow
def test_one_epsilon_of_many_is_caught_in_float64() -> None:
    assert failed(compared("one_epsilon")) == [("float64", "one_epsilon", "torch")]


def test_a_backend_that_rounds_too_much_is_caught_in_float32() -> None:
    assert failed(compared("coarse")) == [("float32", "coarse", "coarse float64")]


def failed(report: ParityReport) -> list[tuple[str, str, str]]:
    return [(d.dtype, d.backend, d.reference) for d in report.differences if not d.passed]


@pytest.mark.slow
def test_the_bounds_are_those_that_follow_from_the_network() -> None:
    report = compared("right")
    float64, *float32 = report.differences
    assert (float64.dtype, float64.bound) == ("float64", pytest.approx(RELATIVE_TOLERANCE))
    assert [(d.dtype, d.bound) for d in float32] == [("float32", report.rounding_tolerance)] * 2
    # Such a network's rounding, by measurement, is some millionths.
    assert 4e-7 < report.rounding_tolerance < 2e-4


def test_the_node_that_is_wrong_is_found() -> None:
    report = compared("one_epsilon", bisect=True)
    (finding,) = report.findings
    assert (finding.backend, finding.node, finding.kind) == ("one_epsilon", "layer3.0.bn2", "node")
    assert [node.name for node in report.nodes if not node.passed] == ["layer3.0.bn2"]


@pytest.mark.slow
def test_nan_is_a_difference() -> None:
    assert not compared("nan").passed


@pytest.mark.slow
def test_a_difference_exits_with_1_and_shows_in_the_table(parity: Callable[..., Outcome]) -> None:
    done = parity("cifar/resnet20", "--backends", "torch,epsilon")
    assert done.status == 1, done.err
    assert "DIFFERS" in done.out


@pytest.mark.slow
def test_another_shape_is_a_difference(parity: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "input: {channels: 3, height: 8, width: 8}\n"
        "stem: {conv1: {conv2d: {channels: 4, kernel: 3}}, maxpool: {max_pool2d: {kernel: 3, stride: 2, padding: 1}}}\n"
    )
    done = parity(str(path), "--backends", "torch,unpadded", "--json")
    assert done.status == 1, done.err
    (report,) = json.loads(done.out)
    (exact,) = (d for d in report["differences"] if d["dtype"] == "float64")
    assert (exact["passed"], exact["largest"], exact["relative"]) == (False, None, None)
    assert "inf" in parity(str(path), "--backends", "torch,unpadded").out


def test_a_killed_backend_is_reported_as_such_and_exits_with_3(parity: Callable[..., Outcome]) -> None:
    done = parity("cifar/resnet20", "--backends", "torch,killed")
    assert done.status == 3
    assert "the killed backend's process was killed by SIGKILL" in done.err
    assert "DIFFERS" not in done.out


@pytest.mark.slow
def test_a_backend_out_of_memory_is_reported_as_such() -> None:
    with pytest.raises(BackendError, match="the failing backend failed: out of memory"):
        compared("failing")


@pytest.mark.slow
def test_a_backend_killed_in_the_middle_of_a_bisection_is_not_a_difference(parity: Callable[..., Outcome]) -> None:
    done = parity("cifar/resnet20", "--backends", "torch,killed_later", "--bisect")
    assert done.status == 3
    assert "the killed_later backend's process was killed by SIGKILL" in done.err
    assert "DIFFERS" not in done.out


@pytest.mark.slow
def test_memory_that_ends_in_the_middle_of_a_bisection_is_not_a_difference() -> None:
    with pytest.raises(BackendError, match="the failing_later backend failed: out of memory"):
        compared("failing_later", bisect=True)


def test_an_unknown_backend_is_named_with_a_suggestion() -> None:
    with pytest.raises(BackendError, match="no backend is named 'tensorflw'; did you mean 'tensorflow'"):
        compared("tensorflw")


def test_one_backend_alone_is_not_a_comparison() -> None:
    with pytest.raises(SpecError, match="two backends or more"):
        resnet_spec.compare("resnet18", ("torch",))


def test_a_network_of_vectors_is_compared(parity: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "vector.yaml"
    path.write_text("input: {features: 6}\nstem: {fc: {linear: {features: 4}}}\n")
    report = resnet_spec.compare(path, ("torch", "right"))

    assert report.passed
    assert report.size == (6,)
    done = parity(str(path), "--size", "64")
    assert done.status == 2
    assert "exclude each other" in done.err


@pytest.mark.slow
def test_given_weights_are_compared(tmp_path: Path) -> None:
    graph = resnet_spec.load("cifar/resnet20", {"parameters.classes": 7}).to_graph()
    resnet_spec.write_weights(tmp_path / "w.safetensors", graph, resnet_spec.initialize(graph, 3))
    report = compared("right", weights=tmp_path / "w.safetensors", overrides={"parameters.classes": 7})
    assert report.passed
    assert report.weights.endswith("w.safetensors")


def test_a_size_that_does_not_fit_is_refused_before_a_backend_starts(parity: Callable[..., Outcome]) -> None:
    for size in ("nonsense", "224x", "0x5", "-3"):
        done = parity("torchvision/resnet18", f"--size={size}")
        assert done.status == 2
        assert "--size" in done.err
