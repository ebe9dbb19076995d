"""Runtimes of a third party are timed and compared; what is wrong with one does not end the benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import BackendError, MissingLibraryError, SpecError, benchmark
from resnet_spec.backend.registry import runtimes
from tests.needs import posix
from tests.resnet_spec.parity.numpy_backends import BACKENDS
from tests.third_party import NUMPY_BACKENDS, distribution, on_path

SPEC = "input: {features: 6}\nstem: {one: {linear: {features: 8}}, relu: relu, fc: {linear: {features: 3}}}\n"
TIMED = Path(__file__).with_name("timed_backend.py")
QUICK: dict[str, Any] = {"reference": "plain", "rounds": 3, "seconds": 0.0}
OPTIONS = ("--reference", "plain", "--rounds", "3", "--seconds", "0")


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("timed-backend")
    backends = {"plain": BACKENDS["plain"], "timed": "timed_backend:Timed"}
    distribution(folder, "timed-backend", backends, NUMPY_BACKENDS, TIMED)
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, folder)
        yield


@pytest.fixture(autouse=True)
def specs(third_party: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC, "utf-8")
    Path("bad.yaml").write_text("stem: {}", "utf-8")


def test_each_batch_is_timed_and_the_slower_runtime_is_slower() -> None:
    report = benchmark("net.yaml", ["quick", "slow"], batches=[1, 3], **QUICK)
    quick, slow = report.runtimes
    assert [timing.batch for timing in quick.timings] == [timing.batch for timing in slow.timings] == [1, 3]
    for timing in quick.timings:
        assert timing.ratio == (1, 1, 1)
        assert len(timing.rounds) == len(timing.reference) == 3
    for timing, first in zip(slow.timings, quick.timings, strict=True):
        # The runtimes sleep for 5 and 1 ms, at least.
        assert timing.latency.low >= 0.005
        assert first.latency.low >= 0.001
        assert list(timing.reference) == [min(found) for found in first.rounds]
    assert report.passed
    assert quick.size > 200
    assert quick.memory is None or quick.memory > 2**20
    assert quick.load_seconds > 0.001
    assert report.machine["python"]
    assert quick.environment["numpy"]


def test_what_computes_something_else_has_no_time(command: Callable[..., Any]) -> None:
    done = command("resnet-spec", "bench", "net.yaml", "--runtimes", "quick,wrong,nan", *OPTIONS, "--html", "b.html")
    assert done.status == 1
    lines = {line.split()[0]: line for line in done.out.splitlines()[2:5]}
    assert "DIFFERS" in lines["wrong"]
    assert "DIFFERS" in lines["nan"]
    assert "DIFFERS" not in lines["quick"]
    assert "wrong computes something else: its logits differ by " in " ".join(done.out.split())
    page = Path("b.html").read_text("utf-8")
    assert page.count("✗ DIFFERS") == 2


@pytest.mark.slow
@posix
def test_one_that_fails_has_its_error_and_the_others_their_times() -> None:
    report = benchmark("net.yaml", ["quick", "refusing", "dying", "ending", "slow"], batches=[1, 2], **QUICK)
    found = {runtime.name: runtime for runtime in report.runtimes}
    assert found["refusing"].error == "the timed backend failed: BackendError: refusing cannot express 'relu'"
    assert found["dying"].error.startswith("dying's process was killed by SIGKILL")
    assert found["ending"].error.startswith("ending's process was killed by SIGKILL")
    assert [len(found[name].timings) for name in ("quick", "slow")] == [2, 2]
    assert report.passed
    assert not found["dying"].agrees


def test_a_runtime_that_is_not_installed_is_left_out_unless_it_is_named() -> None:
    with pytest.raises(MissingLibraryError, match="pip install absent"):
        benchmark("net.yaml", ["quick", "absent"], **QUICK)
    assert "absent" in runtimes()


@pytest.mark.slow
@pytest.mark.usefixtures("only_timed")
def test_all_that_are_installed_are_timed_by_default() -> None:
    report = benchmark("net.yaml", **QUICK)
    assert [runtime.name for runtime in report.runtimes] == ["quick", "slow"]
    assert report.reference == "plain"


@pytest.fixture
def only_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict.fromkeys(("quick", "slow", "absent"), "timed")
    monkeypatch.setattr("resnet_spec.benchmarking.benchmark.installed_runtimes", lambda **_: names)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(SpecError, match=r"no runtime is named 'quik' \(did you mean 'quick'\?\)|quick"):
        benchmark("net.yaml", ["quik"], **QUICK)
    with pytest.raises(SpecError, match=r"onnxruntime-int8 runs 8-bit networks, and needs quantization="):
        benchmark("net.yaml", ["onnxruntime-int8"], **QUICK)
    with pytest.raises(SpecError, match="runtimes is a list of names"):
        benchmark("net.yaml", "quick", **QUICK)
    with pytest.raises(BackendError, match="no backend is named 'no'"):
        benchmark("net.yaml", ["quick"], reference="no")


def test_the_command_goes_on_after_a_spec_that_is_wrong(command: Callable[..., Any]) -> None:
    done = command("resnet-spec", "bench", "bad.yaml", "net.yaml", "--runtimes", "quick", *OPTIONS, "--json")
    assert done.status == 2
    timed, failed = json.loads(done.out)
    assert timed["spec"] == "net"
    assert timed["passed"] is True
    assert timed["runtimes"][0]["timings"][0]["agreement"]["passed"] is True
    assert (failed["spec"], failed["passed"]) == ("bad.yaml", None)
    assert "bad.yaml" in done.err


@pytest.mark.parametrize("option", [("--batches", "0"), ("--batches", "1,x"), ("--rounds", "1"), ("--threads", "0")])
def test_wrong_options_are_refused(command: Callable[..., Any], option: tuple[str, str]) -> None:
    done = command("resnet-spec", "bench", "net.yaml", *option)
    assert done.status == 2
    assert option[0] in done.err
    assert not done.out
