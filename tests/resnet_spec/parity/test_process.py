"""Asking a backend in a process of its own: what is answered, and what an error leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec.parity.process import BackendProcess, WorkerProcess, started
from resnet_spec.weights.formats.safetensors import write_safetensors
from tests.third_party import distribution, on_path

COUNTING = """
import os, signal
from resnet_spec.backend.protocol import Gradients

class Counting:
    '''Gives images back, and takes their sum for the loss; what is negative it refuses, and infinity kills it.'''

    name = "counting"
    outputs = {}
    inputs = ()
    running_variance = "biased"

    def environment(self):
        return {"fingers": "10"}

    def compile(self, graph, **settings):
        return None

    def load(self, model, graph, arrays):
        pass

    def arrays(self, model, graph):
        return {}

    def forward(self, model, images, training=False):
        if images.min() < 0:
            raise ValueError(f"{images.min():.0f} is negative")
        if images.max() == float("inf"):
            os.kill(os.getpid(), signal.SIGKILL)
        return [images]

    def gradients(self, model, graph, images, targets):
        return Gradients(float(images.sum()), {}, images)
"""
GRAPH = Graph.model_validate(
    {
        "name": "test",
        "input": {"features": 1},
        "nodes": [{"name": "relu", "operation": {"op": "relu"}, "inputs": ("input",), "shape": (1,)}],
        "outputs": ("relu",),
    }
)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackendProcess]:
    """A backend that needs no framework, running, with both models loaded."""
    distribution(tmp_path, "counting", {"counting": "counting_backend:Counting"})
    (tmp_path / "counting_backend.py").write_text(COUNTING)
    on_path(monkeypatch, tmp_path)
    write_safetensors(tmp_path / "none.safetensors", {})
    with started(["counting"]) as (process,):
        process.load(GRAPH, tmp_path / "none.safetensors", "float32", "float64")
        yield process


def number(value: float) -> np.ndarray:
    return np.array([[value]], np.float32)


def test_a_backend_says_what_it_is_when_it_is_ready(process: BackendProcess) -> None:
    assert (process.environment, process.running_variance) == ({"fingers": "10"}, "biased")


def test_waiting_gives_the_last_answer(process: BackendProcess) -> None:
    process.forward(number(3))
    process.gradients(number(3), [number(0)])

    assert process.wait() == {"loss": 3}
    assert process.wait() == {}


def test_an_error_in_a_request_does_not_lose_the_next_answers(process: BackendProcess, tmp_path: Path) -> None:
    process.gradients(number(2), [number(0)])
    process.load(GRAPH, tmp_path / "first.safetensors", "float64")
    process.load(GRAPH, tmp_path / "second.safetensors", "float64")
    with pytest.raises(BackendError, match=r"the counting backend failed: .*first\.safetensors"):
        process.wait()

    # Neither the answer before the error nor the error after it is taken for the answer to what is asked now.
    process.load(GRAPH, tmp_path / "none.safetensors", "float64")
    process.gradients(number(7), [number(0)])
    assert process.wait() == {"loss": 7}
    assert process.wait() == {}


def test_what_a_backend_refuses_is_reported_and_it_goes_on(process: BackendProcess) -> None:
    process.forward(number(-5))
    with pytest.raises(BackendError, match=r"^the counting backend failed: ValueError: -5 is negative$"):
        process.outputs()

    process.forward(number(4))
    assert process.outputs() == [[[4]]]


def test_a_dead_process_is_reported_and_not_waited_for(process: BackendProcess) -> None:
    process.forward(number(np.inf))
    with pytest.raises(BackendError, match="the counting backend's process was killed by SIGKILL"):
        process.outputs()
    with pytest.raises(BackendError, match="the counting backend's process was killed by SIGKILL"):
        process.forward(number(1))


def test_an_interrupted_wait_leaves_no_timer_behind() -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    process = object.__new__(WorkerProcess)
    process._seconds = 900.0
    process._process = SimpleNamespace(stdout=SimpleNamespace(readline=interrupted))  # type: ignore[assignment]
    before = {*threading.enumerate()}
    with pytest.raises(KeyboardInterrupt):
        process._answer()
    # A timer that is not canceled would keep a command from ending for as long as a runtime may take.
    for thread in {*threading.enumerate()} - before:
        thread.join(10)
        assert not thread.is_alive()
