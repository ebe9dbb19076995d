"""Every form in which `resnet-spec bench` runs a module computes what the module is meant to."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_spec_torch import RUNTIMES
from tests.runtimes import check_runtime


# The compiler imports modules that call what PyTorch deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "runtime", [pytest.param(name, marks=() if name == "torch" else pytest.mark.slow) for name in RUNTIMES]
)
def test_a_runtime_computes_the_network(runtime: str, tmp_path: Path) -> None:
    check_runtime("torch", runtime, tmp_path)
