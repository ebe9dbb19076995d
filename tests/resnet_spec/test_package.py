"""``import resnet_spec``: its names are those of its stub, each imported when it is first used."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import resnet_spec

STUB = Path(resnet_spec.__file__).with_suffix(".pyi")
# Each imported name, with the module that the stub imports it from; none where it is a package itself.
IMPORTS = [
    (alias, node.module and f"resnet_spec.{node.module}")
    for node in ast.walk(ast.parse(STUB.read_text("utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
]
NAMES = {alias.name: module for alias, module in IMPORTS}


def python(program: str, *options: str, **variables: str) -> str:
    """What a program prints in an interpreter of its own."""
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stub_has_each_name_once_and_exports_it() -> None:
    assert [name for name, count in Counter(alias.name for alias, _ in IMPORTS).items() if count > 1] == []
    # A type checker takes a stub's import for private unless it is renamed to itself.
    assert [alias.name for alias, _ in IMPORTS if alias.asname != alias.name] == []


def test_all_and_dir_are_the_stubs_names() -> None:
    assert sorted(resnet_spec.__all__) == sorted(dir(resnet_spec)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_its_module_has(name: str) -> None:
    module = NAMES[name]
    wanted = (
        getattr(importlib.import_module(module), name) if module else importlib.import_module(f"resnet_spec.{name}")
    )

    assert getattr(resnet_spec, name) is wanted


def test_what_the_contract_names_is_public() -> None:
    contract = {"available", "load", "Graph", "summarize", "initialize", "read_weights", "write_weights", "build"}

    assert contract | {"compare", "get_backend"} <= set(NAMES)


def test_an_unknown_name_is_reported_as_python_does() -> None:
    with pytest.raises(AttributeError, match=r"^module 'resnet_spec' has no attribute 'nonsense'$") as caught:
        resnet_spec.nonsense  # noqa: B018
    # By these a traceback adds: Did you mean: 'load'?
    assert (caught.value.name, caught.value.obj) == ("nonsense", resnet_spec)


def test_an_error_within_a_module_is_not_taken_for_an_unknown_name() -> None:
    program = """
import sys
sys.modules["resnet_spec.building"] = None
import resnet_spec
try:
    resnet_spec.build
except ImportError as error:
    print(error)
"""
    assert "resnet_spec.building" in python(program)


def test_importing_the_package_imports_lazy_loader_only() -> None:
    program = "import sys; before = set(sys.modules); import resnet_spec; print(*sorted(set(sys.modules) - before))"
    imported = {name.partition(".")[0] for name in python(program).split()} - sys.stdlib_module_names

    assert imported == {"resnet_spec", "lazy_loader"}


@pytest.mark.parametrize(
    "options", [(), pytest.param(("-O",), marks=pytest.mark.slow), ("-OO",)], ids=["plain", "-O", "-OO"]
)
@pytest.mark.parametrize("eager", ["", "1"], ids=["lazy", "EAGER_IMPORT=1"])
def test_every_name_is_there_in_every_mode(options: tuple[str, ...], eager: str) -> None:
    """Without docstrings and assertions, and where lazy_loader imports everything at once."""
    program = """
import sys, resnet_spec
print("resnet_spec.building" in sys.modules, *(name for name in resnet_spec.__all__ if getattr(resnet_spec, name)))
"""
    assert python(program, *options, EAGER_IMPORT=eager).split() == [str(bool(eager)), *sorted(NAMES)]


def test_a_star_import_brings_the_public_names() -> None:
    program = "before = set(globals()); from resnet_spec import *; print(*sorted(set(globals()) - before - {'before'}))"

    assert python(program).split() == sorted(NAMES)


def test_the_types_are_those_that_the_consumer_asserts() -> None:
    """``make lint`` checks the types in this file; here its names are found when it runs."""
    path = Path(__file__).parents[1] / "typing" / "consumer.py"
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "resnet_spec"
        for alias in node.names
    }
    program = f"import runpy; print(len(runpy.run_path({str(path)!r})) > 0)"

    assert python(program) == "True\n"
    assert imported == set(NAMES)
