"""Conditions of a test: a framework that is not installed everywhere, or features that only POSIX has."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec

import pytest

posix = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no named pipes, no SIGKILL and no SIGINT to another process"
)

# A test's parameters are evaluated on import, on every system.
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def need(framework: str) -> None:
    """Skip the test, or what needs the fixture, where a framework is not installed; it is not imported.

    TensorFlow has no wheels for the newest Python.
    """
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
