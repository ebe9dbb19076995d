"""What these tests share: specs written where a test runs, their mistakes, and the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
from safetensors.numpy import save_file

from resnet_spec import initialize, load, write_weights
from resnet_spec.cli import build, spec
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.report import Difference, NodeReport, ParityReport
from tests.shipped import shipped

_COMMANDS = {"resnet-spec": spec.main, "resnet-build": build.main}

SMALL = """
    input: {channels: 3, height: 16, width: 16}
    layers:
      norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
      act: relu
    stem:
      conv1: {conv2d: {channels: 8, kernel: 3, stride: 2, padding: 1, bias: true}}
      bn1: norm
      relu: act
    stages:
      layer1: {block: basic_block, repeat: 2, channels: 8}
      layer2: {block: basic_block, channels: 12, stride: 2}
    head:
      avgpool: global_avg_pool
      flatten: flatten
      fc: {linear: {features: 5}}
"""


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def _without_progress(err: str) -> str:
    """What a command says on stderr besides the steps that it names on a slow machine."""
    return re.sub(r"^(reading|writing|importing|building|comparing|running) [^\n]* …\n", "", err, flags=re.MULTILINE)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into the folder the test then runs in, so that errors name it without a folder."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "spec.yaml") -> Path:
        path = Path(name)
        path.write_text(dedent(text).removeprefix("\n"), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def lower(write: Callable[..., Path]) -> Callable[..., Graph]:
    """The graph of a spec's text."""
    return lambda text, overrides=None: load(write(text), overrides).to_graph()


@pytest.fixture
def small(lower: Callable[..., Graph]) -> Graph:
    """A residual network of three blocks, quick to draw weights for."""
    return lower(SMALL)


@pytest.fixture
def file(tiny: Graph, tmp_path: Path) -> Path:
    """A canonical weights file of a module's tiny network."""
    path = tmp_path / "tiny.safetensors"
    write_weights(path, tiny, initialize(tiny))
    return path


@pytest.fixture
def plain(tiny: Graph, tmp_path: Path) -> Path:
    """The same tensors as another library would write them, with nothing said of the architecture."""
    path = tmp_path / "plain.safetensors"
    save_file(initialize(tiny), path)
    return path


def lines(call: Callable[[], object]) -> list[str]:
    """The lines of the error that a call raises, uncut."""
    with pytest.raises(ResnetSpecError) as caught:
        call()
    return "\n".join(map(str, caught.value.problems)).splitlines()


@pytest.fixture(name="lines")
def _lines() -> Callable[[Callable[[], object]], list[str]]:
    return lines


@pytest.fixture(scope="session", name="shipped")
def _shipped() -> Callable[[str], Graph]:
    """The graph of a shipped spec, lowered once for all tests that go through them all."""
    return shipped


@pytest.fixture
def mistakes(lower: Callable[..., Graph]) -> Callable[..., list[str]]:
    """The lines of the error that a spec's text causes; the file is ``spec.yaml``."""
    return lambda text, overrides=None: lines(lambda: lower(text, overrides))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process, through all that its entry point does."""

    def run(name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            _COMMANDS[name]()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(ended.value.code or 0, out, _without_progress(err))  # type: ignore[arg-type]

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Outcome]:
    """Run an installed command in a process of its own, in the test's folder."""

    def run(name: str, *arguments: object, **options: Any) -> Outcome:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "error:::resnet_spec"}
        executable = Path(sys.executable).with_name(name) if "/" not in name else name
        line = [str(executable), *map(str, arguments)]
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300} | options
        done = subprocess.run(line, check=False, **options)
        assert "Traceback" not in (done.stderr or "")
        return Outcome(done.returncode, done.stdout, _without_progress(done.stderr) if done.stderr else done.stderr)

    return run


@pytest.fixture
def python(process: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Run a program in a fresh interpreter."""
    return lambda program, *arguments, **options: process("python", "-c", dedent(program), *arguments, **options)


def difference(relative: float = 3e-15, bound: float = 1e-9, **fields: Any) -> Difference:
    """A difference made by hand: of float64 logits unless it is said of what."""
    values = {"quantity": "logits", "dtype": "float64", "backend": "tensorflow", "reference": "torch"} | fields
    return Difference(largest=2 * relative, allowed=2 * bound, size=2.0, **values)


def node(name: str, *shares: float, stage: str = "", block: str = "", operation: str = "conv2d") -> NodeReport:
    """A node made by hand, which takes such shares of its bounds: in float64, and if there is a second in float32."""
    own = {"quantity": "node", "subject": name}
    found = [difference(shares[0] * 1e-14, 1e-14, **own)]
    if len(shares) > 1:
        found.append(difference(shares[1] * 1e-5, 1e-5, dtype="float32", reference="tensorflow float64", **own))
    return NodeReport(name, operation, stage, block, (8, 4, 4), 2e-14, tuple(found))


def report(**fields: Any) -> ParityReport:
    """A report made by hand, of a comparison in which nothing differs unless it is said what."""
    values: dict[str, Any] = {
        "spec": "family/net", "fingerprint": "f" * 64, "size": (64, 48), "batch": 2, "weights": "random", "seed": 7,
        "deviation": 0.5, "rounding_tolerance": 2e-6,
        "environment": {"torch": {"threads": "2"}, "tensorflow": {"keras": "3.15"}},
        "differences": (difference(), difference(1e-6, 4e-6, dtype="float32", reference="tensorflow float64")),
    }  # fmt: skip
    return ParityReport(**values | fields)


class Handmade(NamedTuple):
    """Parts of reports, made without a framework."""

    difference: Callable[..., Difference]
    node: Callable[..., NodeReport]
    report: Callable[..., ParityReport]


@pytest.fixture(scope="session")
def handmade() -> Handmade:
    """What makes reports for those who show them."""
    return Handmade(difference, node, report)
