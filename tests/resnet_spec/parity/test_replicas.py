"""Do replicas train as one process does, in every precision, and is it caught where they do not?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import resnet_spec
from resnet_spec import BackendError, SpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.plan import Plan
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.report import Difference
from resnet_spec.parity.training import TrainingComparison
from tests.needs import need
from tests.resnet_spec_torch.graphs import Builder, random_arrays
from tests.third_party import distribution, on_path

pytestmark = pytest.mark.slow


def network(name: str = "network") -> Graph:
    """Normalizations of every kind that has statistics, and a parameter that nothing uses in training."""
    b = Builder(3, 8, 8).add("conv1", "conv2d", channels=4, kernel=3, padding=1)
    b.add("bn1", "batch_norm", momentum=0.3).add("relu1", "relu")
    b.add("conv2", "conv2d", channels=4, kernel=3, stride=2, bias=True).add("bn2", "batch_norm", epsilon=1e-3)
    b.add("pbn", "position_batch_norm").add("gn", "group_norm", groups=2, epsilon=1e-5).add("relu2", "relu")
    b.add("pool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=3)
    return b.graph().model_copy(update={"name": name})


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BackendProcess]]:
    """PyTorch, TensorFlow's replicas, and PyTorch's with the mistake that the graph is named after."""
    need("tensorflow")
    folder = tmp_path_factory.mktemp("wrong")
    distribution(folder, "wrong", {"wrong": "wrong_training:Wrong"}, Path(__file__).with_name("wrong_training.py"))
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        # In networks this small threads only wait for each other.
        patch.setenv("OMP_NUM_THREADS", "1")
        on_path(patch, folder)
        started = [
            stack.enter_context(BackendProcess(name, count))
            for name, count in (("torch", None), ("tensorflow", 2), ("wrong", 2))
        ]
        for process in started:
            process.ready()
        yield started


def compared(folder: Path, processes: Sequence[BackendProcess], graph: Graph, plan: Plan) -> list[Difference]:
    return TrainingComparison(processes, Scratch(folder), lambda step: None).run(graph, random_arrays(graph), plan=plan)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_replicas_train_as_one_process(processes: list[BackendProcess], tmp_path: Path, precision: Any) -> None:
    found = compared(tmp_path, processes, network(), Plan(2, 4, 0, precision))
    assert [d for d in found if not d.passed] == []
    assert {"tensorflow ×2", "wrong ×2"} <= {d.backend for d in found}
    quantities = {d.quantity for d in found}
    assert quantities == {"losses", "gradients", "statistics"} | ({"weights"} if precision != "bfloat16" else set())
    if precision == "float64":
        assert max(d.relative for d in found) < 1e-10


@pytest.mark.parametrize(
    ("mistake", "caught"),
    [
        ("own statistics", {"losses", "gradients", "statistics"}),
        ("summed", {"gradients"}),
        ("the same part", {"losses", "gradients", "statistics"}),
        ("the last image", {"losses", "gradients", "statistics"}),
    ],
)
def test_a_mistake_of_replicas_is_caught(
    processes: list[BackendProcess], tmp_path: Path, mistake: str, caught: set[str]
) -> None:
    for precision in ("float64", "float32"):
        plan = Plan(0, 4, 0, precision)
        found = compared(tmp_path, [processes[0], processes[2]], network(mistake), plan)
        assert {d.quantity for d in found if not d.passed} == caught, precision


def test_a_replica_s_error_is_reported_and_the_next_comparison_runs(
    processes: list[BackendProcess], tmp_path: Path
) -> None:
    wrong = processes[2]
    resnet_spec.write_weights(tmp_path / "w.safetensors", network(), random_arrays(network()))
    wrong.load(network("a replica fails"), tmp_path / "w.safetensors", "float64")
    with pytest.raises(BackendError, match=r"status 1: a replica failed: .*no_such_command"):
        wrong.wait()
    wrong.recover()
    assert all(d.passed for d in compared(tmp_path, [processes[0], wrong], network(), Plan(0, 2, 0)))


def test_a_lost_scale_of_the_loss_is_caught_in_float16(tmp_path: Path, processes: list[BackendProcess]) -> None:
    b = Builder(3, 16, 16).add("conv1", "conv2d", channels=4, kernel=3).add("bn", "batch_norm").add("relu", "relu")
    right = b.add("conv2", "conv2d", channels=4, kernel=3).add("small", "multiply", factor=2.0**-13).graph()
    with BackendProcess("wrong") as wrong:
        wrong.ready()
        for name, passed in (("right", True), ("scale", False)):
            graph = right.model_copy(update={"name": name})
            found = compared(tmp_path, [processes[0], wrong], graph, Plan(0, 4, 0, "float16"))
            gradients = [d for d in found if d.quantity == "gradients"]
            assert [d.passed for d in gradients] == [True, passed], gradients


def test_replicas_end_with_the_process_that_starts_them_whatever_they_wait_for() -> None:
    """They have its standard output, which is therefore read to the end only if they end."""
    need("torch")
    script = """
import os, socket
from multiprocessing import get_context
from resnet_spec_torch.replicas import _serve
with socket.create_server(("127.0.0.1", 0)) as nobody:
    arguments = 0, 2, nobody.getsockname()[1], 1, get_context("spawn").Pipe()[1]
get_context("spawn").Process(target=_serve, args=arguments, daemon=True).start()
print("started", flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr


def test_what_cannot_be_divided_is_an_error_before_anything_starts() -> None:
    for options, message in (
        ({"replicas": 2}, "training only: give training_steps="),
        ({"replicas": 1, "training_steps": 1}, "2 replicas or more"),
        ({"replicas": 2, "training_steps": 1, "batch": 3}, "a batch of 3 cannot be divided equally among 2"),
    ):
        with pytest.raises(SpecError, match=message):
            resnet_spec.compare("cifar/resnet20", **options)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="the onnx backend does not train on replicas"):
        resnet_spec.compare("cifar/resnet20", ("onnx", "onnx"), training_steps=1, replicas=2)
