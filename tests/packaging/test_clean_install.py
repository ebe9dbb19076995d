"""A wheel and an editable install, each in an environment of its own that holds no framework."""

from __future__ import annotations

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
    venv.create(folder / "env", with_pip=True)
    target = ["--editable", ROOT] if request.param == "editable" else [request.getfixturevalue("wheel")]
    pip = folder / "env" / "bin" / "python", "-m", "pip"
    call(*pip, "install", "--quiet", "--constraint", ROOT / "constraints.txt", *target, cwd=folder)
    return folder


def test_the_wheel_holds_the_packages_and_the_yaml_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    info = next(name for name in top if name.endswith(".dist-info"))
    assert top == {"resnet_spec", "resnet_spec_onnx", "resnet_spec_tensorflow", "resnet_spec_torch", info}
    specs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "specs").rglob("*.yaml")}
    assert {f"resnet_spec/{spec}" for spec in specs} <= set(names)
    assert "resnet_spec/parity/render/templates/page.html" in names
    assert {f"{package}/py.typed" for package in top - {info}} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


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
