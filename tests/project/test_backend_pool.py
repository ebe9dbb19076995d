"""The tests' pool of backends: it keeps processes, also from module to module, and none that is unusable."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from resnet_spec import BackendError
from resnet_spec.parity.process import BackendProcess, started
from tests.backend_pool import shared_backends
from tests.needs import need


def test_a_process_outlives_the_module_that_started_it() -> None:
    need("torch")
    seen: list[int] = []
    for _ in range(2):
        with shared_backends(), started(["torch"]) as (process,):
            assert process.environment.keys() >= {"torch"}
            seen.append(process._process.pid)
    assert seen[0] == seen[1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_that_died_is_reported_and_not_kept() -> None:
    need("torch")
    with shared_backends():
        with started(["torch"]) as (process,):
            dead = process._process.pid
            os.kill(dead, signal.SIGKILL)
            process._process.wait()
            with pytest.raises(BackendError, match="the torch backend's process was killed by SIGKILL"):
                process.rounding_error(np.zeros(1), 0, np.zeros(1))
        with BackendProcess("torch") as process:
            process.ready()
            assert process._process.pid != dead
