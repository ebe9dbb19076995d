"""The core imports no framework, and neither do the commands that need none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.running import Done

# Refuses a framework even where it is installed, and so whatever the framework would import.
BLOCKER = """
import sys

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "tf_keras", "onnx", "onnxruntime", "jax"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FRAMEWORKS:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
"""

# Runs the commands that it reads, and answers how each ended.
COMMANDS = (
    BLOCKER
    + """
import json, os, traceback
from tests.docs.running import Done, run_here

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    folder, *command = json.loads(line)
    os.chdir(folder)
    try:
        done = run_here(command)
    except BaseException:
        done = Done(1, "", traceback.format_exc())
    print(json.dumps(done), file=answers, flush=True)
"""
)

WEIGHTS = """
from resnet_spec import initialize, load, read_weights, write_weights
graph = load("resnet18").to_graph()
write_weights("w.safetensors", graph, initialize(graph))
assert list(read_weights("w.safetensors", graph)) == [p.name for p in graph.parameters()]
"""

# A Keras file of a spec's weights, in Keras' layout by layer.
HDF5 = """
import h5py, sys
from pathlib import Path
from resnet_spec import initialize, load
Path("tiny.yaml").write_text("{stem: {conv: {conv2d: {channels: 2, kernel: 3}}}}")
kernel = initialize(load("tiny.yaml").to_graph())["conv.weight"].transpose(2, 3, 1, 0)
with h5py.File("in.h5", "w") as file:
    file.attrs["layer_names"] = [b"conv"]
    group = file.create_group("conv")
    group.attrs["weight_names"] = [b"conv/kernel:0"]
    group["conv/kernel:0"] = kernel
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """One process for all commands: a framework that any of them imports, at the first time or later, is refused."""
    # Where it answers, a warning is an error, as for a command in a process of its own.
    environment = os.environ | {"PYTHONWARNINGS": "error:::resnet_spec"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen([sys.executable, "-c", COMMANDS], env=environment, **pipes) as running:
        yield running
        running.stdin.close()


@pytest.fixture
def run(server: subprocess.Popen[str], tmp_path: Path) -> Callable[..., Done]:
    """Run a command where frameworks cannot be imported."""

    def answer(*command: str) -> Done:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps([str(tmp_path), *command]), file=server.stdin, flush=True)
        done = Done(*json.loads(server.stdout.readline()))
        assert "Traceback" not in done.err, done.err
        return done

    return answer


def modules_of(*arguments: str) -> set[str]:
    """The modules that a command imports, as the interpreter reports them."""
    command = [sys.executable, "-X", "importtime", str(Path(sys.executable).with_name(arguments[0])), *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_the_blocker_blocks(python: Callable[..., Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + "import torch"], capture_output=True, text=True, timeout=300, check=False
    )

    assert "AssertionError: torch was imported" in done.stderr


def test_every_public_name_is_imported_without_a_framework(python: Callable[..., Any]) -> None:
    program = (
        BLOCKER + "import resnet_spec\nfor name in resnet_spec.__all__:\n    getattr(resnet_spec, name)\nprint('done')"
    )

    assert python(program).out == "done\n"


def test_every_module_of_the_core_is_imported_without_a_framework(python: Callable[..., Any]) -> None:
    walk = """
import importlib, pkgutil, resnet_spec
for module in pkgutil.walk_packages(resnet_spec.__path__, "resnet_spec."):
    importlib.import_module(module.name)
print("done")
"""

    assert python(BLOCKER + walk).out == "done\n"


def test_weights_are_initialized_written_and_read_without_a_framework(python: Callable[..., Any]) -> None:
    assert python(BLOCKER + WEIGHTS + "print('done')").out == "done\n"


def test_backends_are_listed_without_a_framework(python: Callable[..., Any]) -> None:
    program = BLOCKER + "from resnet_spec.backend.registry import backend_names\nprint(*backend_names())"

    assert python(program).out == "jax onnx tensorflow torch\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet-build", ["--help"]),
        ("resnet-build", ["--version"]),
        ("resnet-spec", ["--help"]),
        ("resnet-spec", ["list"]),
        pytest.param("resnet-spec", ["validate", "--all"], marks=pytest.mark.slow),
        ("resnet-spec", ["summary", "resnet18"]),
        ("resnet-spec", ["show", "resnet18", "--graph"]),
        ("resnet-spec", ["schema"]),
        ("resnet-spec", ["convert", "--help"]),
        ("resnet-spec", ["identify", "--help"]),
        ("resnet-spec", ["predict", "--help"]),
        ("resnet-spec", ["evaluate", "--help"]),
    ],
)
def test_a_command_that_needs_no_framework_imports_none(
    run: Callable[..., Done], name: str, arguments: list[str]
) -> None:
    done = run(name, *arguments)

    assert (done.status, bool(done.out)) == (0, True)


@pytest.mark.slow
def test_a_keras_file_is_converted_and_identified_without_a_framework(
    python: Callable[..., Any], run: Callable[..., Done]
) -> None:
    assert python(HDF5).status == 0
    converted = run("resnet-spec", "convert", "tiny.yaml", "in.h5", "out.safetensors")
    nothing = run("resnet-spec", "identify", "out.safetensors")

    assert (converted.status, converted.out) == (0, "out.safetensors: 1 tensors of tiny\n")
    assert (nothing.status, nothing.out.splitlines()[-1]) == (1, "nearest  no shipped spec is similar")


@pytest.mark.parametrize(
    "arguments",
    [
        ["resnet18", "in.safetensors", "out.keras"],
        ["resnet18", "in.h5", "nowhere/out.pth"],
        ["resnet18x", "in.h5", "out.pth"],
        ["resnet18", "in.h5", "out.caffe"],
        ["resnet18", "in.h5", "out"],
    ],
)
def test_an_impossible_conversion_is_reported_without_a_framework(
    run: Callable[..., Done], arguments: list[str]
) -> None:
    done = run("resnet-spec", "convert", *arguments)

    assert (done.status, done.out) == (2, "")
    assert "was imported" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["resnet50x", "--backend", "torch"],
        ["resnet18", "--backend", "torhc"],
        ["resnet18", "--backend", "tf", "--set", "stages.layer5.stride=1"],
        ["resnet18", "--backend", "torch", "--output", "nowhere/x.pth"],
        ["resnet18", "--backend", "tf", "--output", "x.pth"],
    ],
)
def test_wrong_input_is_reported_before_a_framework_is_imported(run: Callable[..., Done], arguments: list[str]) -> None:
    done = run("resnet-build", *arguments)

    assert done.status in (2, 3)
    assert "was imported" not in done.err


def test_the_help_of_resnet_build_imports_click_only() -> None:
    imported = {name.partition(".")[0] for name in modules_of("resnet-build", "--help")}

    assert "click" in imported
    assert not imported & {"pydantic", "numpy", "yaml", "rich", "safetensors", "torch", "tensorflow", "keras", "onnx"}


def test_a_validation_imports_no_numpy() -> None:
    imported = {name.partition(".")[0] for name in modules_of("resnet-spec", "validate", "resnet18")}

    assert "pydantic" in imported
    assert not imported & {"numpy", "safetensors", "torch", "tensorflow", "keras", "onnx"}
