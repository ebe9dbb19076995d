"""Backends of NumPy alone, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backend_pool import shared_backends
from tests.resnet_spec.parity.numpy_backends import BACKENDS
from tests.third_party import NUMPY_BACKENDS, distribution, on_path


@pytest.fixture(scope="module")
def numpy_backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A distribution of these backends, on the path of this process and of its workers; their processes are kept."""
    folder = tmp_path_factory.mktemp("numpy-backends")
    distribution(folder, "numpy-backends", BACKENDS, NUMPY_BACKENDS)
    with pytest.MonkeyPatch.context() as patch, shared_backends(*BACKENDS):
        on_path(patch, folder)
        yield
