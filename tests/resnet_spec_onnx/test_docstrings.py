"""Every example in a docstring of the backend runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples import examples, run


def test_the_examples_of_the_backend_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert "".join(run(example) for example in examples("resnet_spec_onnx").values()) == ""
