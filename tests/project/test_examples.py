"""The examples train alike in both frameworks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import need

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_curves_name_the_training_that_has_not_finished(tmp_path: Path) -> None:
    need("matplotlib")
    (tmp_path / "torch.json").touch()
    command = [sys.executable, "curves.py", str(tmp_path)]
    done = subprocess.run(command, cwd=EXAMPLES / "digits", capture_output=True, text=True)
    wrong = f"{tmp_path / 'keras.json'}: no such file; run this first: python train_keras.py {tmp_path}\n"
    assert (done.returncode, done.stderr) == (1, wrong)


@pytest.mark.slow
def test_digits_are_learned_alike_by_two_processes_and_by_two_devices(tmp_path: Path) -> None:
    for library in ("torch", "tensorflow", "sklearn", "matplotlib"):
        need(library)
    folder, output = tmp_path / "digits", tmp_path / "output"
    shutil.copytree(EXAMPLES / "digits", folder)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in (["start.py"], [*torchrun, "train_torch.py"], ["train_keras.py"], ["curves.py"]):
        # One thread is fastest for a network this small.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *command, str(output)], cwd=folder, env=environment, check=True)
    torch, keras = (json.loads((output / f"{name}.json").read_text()) for name in ("torch", "keras"))
    assert keras["loss"][0] == pytest.approx(torch["loss"][0], rel=1e-5)
    assert keras["loss"][1] == pytest.approx(torch["loss"][1], rel=1e-3)
    assert min(torch["accuracy"][-1], keras["accuracy"][-1]) > 0.98
    assert keras["accuracy"][-1] == pytest.approx(torch["accuracy"][-1], abs=0.01)
    assert "<svg" in (output / "curves.svg").read_text()
