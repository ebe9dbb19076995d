"""ONNX Runtime and OpenVINO compute what the file is meant to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resnet_spec import MissingLibraryError
from resnet_spec_onnx import RUNTIMES
from resnet_spec_onnx.runtimes import open_runtime
from tests.needs import need
from tests.runtimes import check_runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_computes_the_network(runtime: str, tmp_path: Path) -> None:
    need(runtime.partition("-")[0])
    check_runtime("onnx", runtime, tmp_path)


def test_a_runtime_that_is_missing_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'resnet-spec\[openvino\]'"):
        open_runtime("openvino", tmp_path, 1)
