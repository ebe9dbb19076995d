"""A wheel and an editable install, each in its own environment without any framework."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("resnet_spec-*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder / "env", with_pip=False)
    # A page is written with a template, which the package has to hold.
    source = ROOT if request.param == "editable" else request.getfixturevalue("wheel")
    target = ["--editable"] * (request.param == "editable") + [f"{source}[reports]"]
    # Modules that no command imports need not be compiled.
    install = "--python", folder / "env" / "bin" / "python", "install", "--quiet", "--no-compile"
    constraint = "--constraint", ROOT / "constraints.txt"
    call(sys.executable, "-m", "pip", *install, *constraint, *target, cwd=folder)
    return folder


def test_the_wheel_holds_the_packages_and_the_yaml_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    folders = {"resnet_spec": ROOT / "resnet_spec", "resnet_spec/specs": ROOT / "specs"}
    folders |= {path.name: path for path in (ROOT / "backends").iterdir() if path.name.startswith("resnet_spec_")}
    # Every file of a package: modules, stubs, templates, labels, specs.
    files = {
        f"{target}/{path.relative_to(folder).as_posix()}"
        for target, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == files
    # Type checkers look for this file.
    assert "resnet_spec/__init__.pyi" in names
    assert {f"{package}/py.typed" for package in folders if "/" not in package} <= names
    assert f"{info}/licenses/LICENSE" in names


def test_the_page_on_pypi_has_no_relative_link(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        text = file.read(name).decode()
    targets = re.findall(
        r"(?:\]\(|src=\")([^)\"\s]+)[)\"]", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert any(target.startswith("https://raw.githubusercontent.com/") for target in targets)
    assert "Description-Content-Type: text/markdown" in text


def test_every_public_name_and_every_kind_of_data_is_there(environment: Path) -> None:
    script = """
import resnet_spec
from resnet_spec.parity.render.html import html_page
from resnet_spec.vision.prediction import imagenet_labels
print(all(getattr(resnet_spec, name) for name in resnet_spec.__all__), len(imagenet_labels()), len(html_page([])) > 999)
"""
    assert call(environment / "env" / "bin" / "python", "-c", script, cwd=environment) == "True 1000 True\n"


def test_the_commands_work_without_a_framework(environment: Path) -> None:
    bin = environment / "env" / "bin"
    script = (
        "import importlib.util as u; print([n for n in ('torch', 'tensorflow', 'keras', 'onnx') if u.find_spec(n)])"
    )
    assert call(bin / "python", "-c", script, cwd=environment) == "[]\n"
    names = call(bin / "resnet-spec", "list", cwd=environment).split()
    assert "torchvision/resnet50" in names
    assert "bottleneck" in call(bin / "resnet-spec", "show", "resnet50", cwd=environment)
    assert "shortcut" in call(bin / "resnet-spec", "show", "--resolved", "resnet50", cwd=environment)
    assert len(call(bin / "resnet-spec", "validate", "--all", cwd=environment).splitlines()) == len(names)
    assert "resnet-build" in call(bin / "resnet-build", "--help", cwd=environment)


def test_a_missing_framework_is_named_with_what_to_install(environment: Path) -> None:
    command = [environment / "env" / "bin" / "resnet-build", "resnet18", "--backend", "torch"]
    done = subprocess.run(command, cwd=environment, capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install 'resnet-spec[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
