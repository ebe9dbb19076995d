"""Keeps the processes of backends running between comparisons, since importing a framework takes seconds."""

from __future__ import annotations

import atexit
from collections.abc import Generator
from contextlib import contextmanager
from itertools import chain
from typing import Any
from unittest.mock import patch

from resnet_spec.parity.process import BackendProcess

_KEPT = ("environment", "running_variance", "_process", "_errors")

_idle: dict[str, list[dict[str, Any]]] = {"torch": [], "tensorflow": [], "onnx": []}
"""What is kept of each idle process."""


@contextmanager
def shared_backends(*others: str) -> Generator[None]:
    """Use idle processes instead of starting new ones, and keep processes instead of ending them.

    A process that died or has unanswered requests is not kept. Those of ``others``, backends beside the project's own,
    end here.
    """
    start, ready, end = BackendProcess._start, BackendProcess.ready, BackendProcess._end

    def take(process: BackendProcess) -> None:
        if _idle.get(process.name):
            vars(process).update(_idle[process.name].pop())
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
    _end(*others)


@atexit.register
def _end(*names: str) -> None:
    """End the idle processes of some backends, by default all."""
    for kept in chain.from_iterable(_idle.pop(name) for name in names or [*_idle]):
        kept["_process"].kill()
        kept["_process"].communicate()
        kept["_errors"].close()
