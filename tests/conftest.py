"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A background job starts with Ctrl-C ignored, and so do the processes that it starts: tests of Ctrl-C would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)

# With a worker on each core, threads that wait for one another only spin: up to ten times the CPU time.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(_name, "1")

# A test that is slow on a busy machine is not wrong; the rest is Hypothesis' own profile, which differs in CI.
settings.register_profile("tests", settings(), deadline=None)
settings.load_profile("tests")

SLOW = tuple(Path(__file__).parent / name for name in ("lab", "oracles", "packaging"))
"""Folders in which every test is slow."""

_LINES = Path(__file__).with_name("slow_cases.txt").read_text(encoding="utf-8").splitlines()
SLOW_CASES = tuple(line for line in _LINES if not line.startswith("#"))
"""How the names of other slow tests begin."""

LONGEST = (
    "oracles/test_torchvision.py",
    "oracles/test_networks.py",
    "oracles/test_slim.py",
    "lab/test_random_specs.py",
    "oracles/test_keras_files.py",
    "oracles/test_keras.py",
    "oracles/test_mirror.py",
    "oracles/test_onnx.py",
    "oracles/test_slim_files.py",
    "lab/test_mutations.py",
    "oracles/test_recipe.py",
    "project/test_workflows.py",
)
"""The files with the longest slow tests, which ``make test-all`` begins with: last, one would run alone."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Slow folders import several libraries: ``make test`` does without."""
    return True if config.option.markexpr == "not slow" and collection_path in SLOW else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hundreds of modules and thousands of tests stay: the garbage collector need not look at them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        # Models, graphs and specs are many small objects without cycles.
        gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = {path for path in {item.path for item in items} if any(folder in path.parents for folder in SLOW)}
    for item in items:
        if item.path in slow or item.nodeid.removeprefix("tests/").startswith(SLOW_CASES):
            item.add_marker(pytest.mark.slow)
    if config.option.markexpr == "slow":
        places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="module")
def kept_backends() -> Iterator[None]:
    """Comparisons of a module use processes that earlier ones, also of other modules, have started."""
    from tests.backend_pool import shared_backends

    with shared_backends():
        yield
