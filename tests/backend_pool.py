"""Keeps the processes of backends running between comparisons, since importing a framework takes seconds.

Where the system allows it, a process is forked from one that has imported PyTorch, so that the many backends that the
tests derive from PyTorch's start at once.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

from resnet_spec.parity.process import BackendProcess

_KEPT = ("environment", "running_variance", "_process", "_errors")

_idle: dict[str, list[dict[str, Any]]] = {"torch": [], "tensorflow": [], "jax": [], "onnx": []}
"""What is kept of each idle process."""

_SPAWNED = ("tensorflow", "jax", "onnx")
"""Backends whose framework must not share a process with PyTorch."""

_PRELOADED = ["resnet_spec_torch.backend", "resnet_spec.parity.walk", "resnet_spec.parity.worker"]


@contextmanager
def shared_backends(*others: str) -> Generator[None]:
    """Use idle processes instead of starting new ones, and keep processes instead of ending them.

    A process that died or has unanswered requests is not kept, nor are replicas, which start themselves. Those of
    ``others``, backends beside the project's own, end here.
    """
    start, ready, end = BackendProcess._start, BackendProcess.ready, BackendProcess._end

    def take(process: BackendProcess) -> None:
        if _idle.get(process.name):
            vars(process).update(_idle[process.name].pop())
        elif sys.platform == "linux" and process.name not in _SPAWNED and process._command[-1] == process.name:
            vars(process).update(_forked(process.name))
        else:
            start(process)

    def wait(process: BackendProcess) -> None:
        if not process.environment:
            ready(process)

    def keep(process: BackendProcess) -> None:
        alive = process.environment and not process._pending and process._process.poll() is None
        if alive and process.name in _idle:
            _idle[process.name].append({name: vars(process)[name] for name in _KEPT})
        else:
            end(process)
            process.environment = {}

    _idle.update({name: [] for name in others})
    with (
        patch.object(BackendProcess, "_start", take),
        patch.object(BackendProcess, "ready", wait),
        patch.object(BackendProcess, "_end", keep),
    ):
        yield
    _end(others)


@atexit.register
def _end(names: Iterable[str] = tuple(_idle)) -> None:
    """End the idle processes of some backends, by default the project's own."""
    for kept in chain.from_iterable(_idle.pop(name) for name in names):
        kept["_process"].kill()
        kept["_process"].communicate()
        kept["_errors"].close()


# -- forked processes ----------------------------------------------------------------------------------------------


def _forked(name: str) -> dict[str, Any]:
    """What BackendProcess holds of a process that it has started."""
    errors = os.memfd_create(name)
    return {"_process": _Forked(name, errors), "_errors": open(errors, "w+b")}


class _Forked:
    """A worker's process with as much of Popen's interface as BackendProcess uses."""

    def __init__(self, name: str, errors: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        (requests, writing), (reading, answers) = (context.Pipe(duplex=False) for _ in range(2))
        ends = (requests, answers, Connection(os.dup(errors)))
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        self._process = context.Process(target=_work, args=(name, environment, ends), daemon=True)
        self._process.start()
        for end in ends:
            end.close()
        self.stdin = os.fdopen(os.dup(writing.fileno()), "w", encoding="utf-8", errors="backslashreplace")
        self.stdout = os.fdopen(os.dup(reading.fileno()), encoding="utf-8", errors="backslashreplace")

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> None:
        self.wait()
        self.stdout.close()
        self.stdin.close()


def _work(name: str, environment: dict[str, str], ends: tuple[Connection, ...]) -> None:
    """Answer requests as the worker does that is run as a module."""
    from resnet_spec.parity import worker

    os.environ.update(environment)
    for descriptor, end in enumerate(ends):
        os.dup2(end.fileno(), descriptor)
        end.close()
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")  # type: ignore[arg-type]
    sys.argv = [worker.__name__, name]
    worker.main()
