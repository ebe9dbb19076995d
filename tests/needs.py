"""What a test needs that is not there everywhere: a framework, or what only POSIX has."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec

import pytest

posix = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no named pipes, no SIGKILL and no SIGINT to another process"
)

# At import a test's parameters are to be there on every system.
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def need(framework: str) -> None:
    """Skip the test, or what needs the fixture, where a framework is not installed; it is not imported.

    TensorFlow has no wheels for the newest Python.
    """
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
