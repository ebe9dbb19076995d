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
SIGHUP = getattr(signal, "SIGHUP", signal.SIGTERM)


def need(framework: str) -> None:
    """Skip the test, or what needs the fixture, where a framework is not installed; it is not imported.

    TensorFlow has no wheels for the newest Python. Where the Makefile installed everything, a missing one is a failure.
    """
    if find_spec(framework) is None:
        if os.environ.get("RESNET_SPEC_COMPLETE"):
            pytest.fail(f"{framework} is not installed, and `make test` installs it")
        # Modules call it, too.
        pytest.skip(f"{framework} is not installed", allow_module_level=True)
