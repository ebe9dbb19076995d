"""What shells complete, asked for as their scripts ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_spec.cli.completion import SHELLS


def completed(line: str) -> list[str]:
    """What may stand in place of the last word of a line, in bash's format."""
    words = line.split(" ")
    program = Path(sys.executable).with_name(words[0])
    variable = f"_{words[0].upper().replace('-', '_')}_COMPLETE"
    environment = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), variable: "bash_complete"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return [text.partition(",")[2] for text in done.stdout.splitlines() if text.startswith("plain,")]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("resnet-spec summ", {"summary"}),
        ("resnet-spec show resnet1", {"resnet18", "resnet101", "resnet152"}),
        ("resnet-spec show bottle", {"bottleneck"}),
        ("resnet-spec summary torchvision/wide", {"torchvision/wide_resnet50_2", "torchvision/wide_resnet101_2"}),
        ("resnet-spec summary resnet50 --set parameters.out", {"parameters.output_stride="}),
        ("resnet-spec summary keras/resnet50 --set stages.conv2.r", {"stages.conv2.repeat="}),
        ("resnet-build resnet50 --backend t", {"torch", "tensorflow"}),
        ("resnet-build resnet50 --backend torch --weights IMAGENET1K_V", {"IMAGENET1K_V1", "IMAGENET1K_V2"}),
        ("resnet-spec parity resnet18 --backends torch,o", {"torch,onnx"}),
        ("resnet-spec list --family cif", {"cifar"}),
        ("resnet-spec blocks basic", {"basic_block"}),
        ("resnet-spec draw cifar/resnet20 --expand layer2", {"layer2", "layer2.0"}),
    ],
)
def test_words_of_the_language_are_completed(line: str, some: set[str]) -> None:
    found = completed(line)

    assert some <= set(found)
    assert all(word.startswith(line.rpartition(" ")[2]) for word in found)


@pytest.mark.parametrize("line", ["resnet-spec summary nothing --set a", "resnet-spec summary missing.yaml --set a"])
def test_a_spec_that_there_is_not_completes_nothing(line: str) -> None:
    assert completed(line) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_complete_both_commands(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resnet_spec", "completion", shell],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert "_RESNET_SPEC_COMPLETE" in done.stdout
    assert "_RESNET_BUILD_COMPLETE" in done.stdout
    assert done.stderr == ""
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=done.stdout, text=True, timeout=60, check=True)
