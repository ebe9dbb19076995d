"""The function of a SavedModel, frozen or compiled, and a TFLite model compute what the network is meant to."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_spec_tensorflow import RUNTIMES
from resnet_spec_tensorflow.framework import tf
from tests.runtimes import check_runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_computes_the_network(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # They cannot be set again in a process that has run anything.
    for kind in ("intra", "inter"):
        monkeypatch.setattr(tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda number: None)
    check_runtime("tensorflow", runtime, tmp_path)
