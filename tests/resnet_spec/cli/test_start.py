"""A command may be interrupted at any moment: status 130, no traceback, and nothing half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnet_spec import cli, initialize, load, read_weights, write_weights
from resnet_spec.cli import INTERRUPTED, start_build, start_spec
from tests.needs import posix


@pytest.mark.parametrize("start", [start_spec, start_build])
def test_ctrl_c_while_a_command_is_imported_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start: object
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    assert callable(start)
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


IN_A_CALLBACK = """
import resnet_spec.cli

class Callback:
    def __del__(self):
        raise KeyboardInterrupt

def imported(_):
    Callback()
    while True:
        pass

resnet_spec.cli.import_module = imported
resnet_spec.cli.start_spec()
"""


def test_ctrl_c_that_a_library_ignores_ends_the_command_too() -> None:
    line = [sys.executable, "-c", IN_A_CALLBACK]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "interrupted\n")


COMMANDS = {
    "convert": ("start_spec", "convert", "cifar/resnet20", "in.safetensors", "out.npz"),
    "build": (
        "start_build",
        "cifar/resnet20",
        "--backend",
        "torch",
        "--weights",
        "in.safetensors",
        "--output",
        "out.npz",
    ),
    "identify": ("start_spec", "identify", "in.safetensors"),
}

PROGRAM = """
import resnet_spec.cli, sys
print(flush=True)
getattr(resnet_spec.cli, sys.argv.pop(1))()
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_any_moment_leaves_all_or_nothing(tmp_path: Path, command: str) -> None:
    graph = load("cifar/resnet20").to_graph()
    write_weights(tmp_path / "in.safetensors", graph, initialize(graph))
    content = (tmp_path / "in.safetensors").read_bytes()
    chance, longest = random.Random(command), 0.0
    statuses: list[int] = []
    for moment in range(11):
        line = [sys.executable, "-c", PROGRAM, *COMMANDS[command]]
        with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            running.stdout.readline()
            start = time.monotonic()
            # The first one runs to its end, and says how long the others take.
            if moment:
                time.sleep(chance.uniform(0, longest))
                running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=300)
        longest = longest or time.monotonic() - start
        statuses.append(running.returncode)
        # At the interpreter's very end nothing is left to be done.
        assert running.returncode in (0, INTERRUPTED, -signal.SIGINT)
        assert "Traceback" not in said
        left = [path for path in tmp_path.iterdir() if path.name != "in.safetensors"]
        assert [path.name for path in left] in ([], ["out.npz"])
        # Ctrl-C may also come when the file is in place, and interrupt what the command says of it.
        for path in left:
            assert read_weights(path, graph)
            path.unlink()
        assert (tmp_path / "in.safetensors").read_bytes() == content
    assert statuses[0] == 0
    assert INTERRUPTED in statuses
