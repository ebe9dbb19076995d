"""Does docs/ci.md hold? Its tables are the code's, and the hook and the workflow's steps run in its repository."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet_spec.pytest_plugin import ResnetParity
from tests.docs.documents import ROOT, blocks, read, table, ticked

DOCUMENT = "docs/ci.md"
BIN = Path(sys.executable).parent
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/parity.yml").read_text("utf-8"))
# YAML 1.1 takes the word for true.
INPUTS = WORKFLOW[True]["workflow_call"]["inputs"]
ENVIRONMENT = {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{role}_{what}": "reader@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
FILES: dict[str, str] = {}
for block in blocks(DOCUMENT, read(DOCUMENT)):
    FILES.setdefault(str(block.file), block.text)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The document's repository, all of it committed."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("specs/tiny.yaml", "specs/tiny_wide.yaml", "specs/blocks/gated.yaml"):
        path = tmp_path / "team" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name], "utf-8")
    monkeypatch.chdir(tmp_path / "team")
    for command in ("init --quiet --initial-branch=main", "add .", "commit --quiet --message=first"):
        subprocess.run(["git", *command.split()], check=True)
    return tmp_path / "team"


def test_the_arguments_are_those_of_the_fixture() -> None:
    rows = table(DOCUMENT, "argument", "default", "meaning").rows
    _, _, *parameters = inspect.signature(ResnetParity.__call__).parameters.values()
    told = {ticked(row["argument"]): ticked(row["default"]).replace('"', "'") for row in rows}
    assert told == {parameter.name: repr(parameter.default) for parameter in parameters}


def test_the_inputs_are_those_of_the_workflow() -> None:
    rows = table(DOCUMENT, "input", "default", "meaning").rows
    told = {ticked(row["input"]): row["default"] for row in rows}
    assert told == {name: f"`{value['default']}`" if value["default"] else "none" for name, value in INPUTS.items()}


def test_the_example_calls_the_workflow_and_the_hook_by_their_names() -> None:
    job = yaml.safe_load(FILES[".github/workflows/specs.yml"])["jobs"]["parity"]
    assert f"/{job['uses'].partition('resnet-spec/')[2].partition('@')[0]}" == "/.github/workflows/parity.yml"
    assert set(job["with"]) <= set(INPUTS)
    hooks = yaml.safe_load(FILES[".pre-commit-config.yaml"])["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == [HOOK["id"]]


def test_the_statuses_are_all_reported() -> None:
    rows = table(DOCUMENT, "status", "of `resnet-spec parity`").rows
    assert [row["status"] for row in rows] == ["0", "1", "2", "3"]


# -- the hook ----------------------------------------------------------------------------------------------------


def hook(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the hook by pre-commit, from here instead of from an environment that is installed for it."""
    local = HOOK | {"language": "system", "entry": f"{BIN}/{HOOK['entry']}"}
    configuration = repository.parent / "config.yaml"
    configuration.write_text(json.dumps({"repos": [{"repo": "local", "hooks": [local]}]}))
    environment = os.environ | {"PRE_COMMIT_HOME": str(repository.parent / "cache"), "PRE_COMMIT_COLOR": "never"}
    command = [str(BIN / "pre-commit"), "run", "--config", str(configuration), *arguments]
    subprocess.run(["git", "add", "."], check=True)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_hook_passes_for_specs_and_for_their_blocks(repository: Path) -> None:
    done = hook(repository, "--all-files", "--verbose")
    assert done.returncode == 0, done.stdout
    told = [line for line in done.stdout.splitlines() if line.startswith("specs/")]
    assert sorted(told) == [
        "specs/blocks/gated.yaml: valid block",
        "specs/tiny.yaml: valid",
        "specs/tiny_wide.yaml: valid",
    ]


def test_the_hook_checks_what_uses_a_changed_block(repository: Path) -> None:
    path = repository / "specs/blocks/gated.yaml"
    path.write_text(path.read_text().replace("{attention", "{more: int, attention"))
    done = hook(repository)
    assert done.returncode == 1
    assert "specs/blocks/gated.yaml: valid block" in done.stdout
    assert "specs/tiny.yaml:" in done.stdout
    assert "'more'" in done.stdout


def test_the_hook_says_what_other_yaml_lacks(repository: Path) -> None:
    (repository / "specs/owners.yaml").write_text("owners: [us]\n")
    done = hook(repository)
    assert done.returncode == 1
    assert "specs/owners.yaml: neither a spec, which has one of" in done.stdout


# -- the workflow ------------------------------------------------------------------------------------------------


def step(name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does, with inputs at their defaults but for these."""
    job: dict[str, Any] = WORKFLOW["jobs"]["parity"]
    (script,) = (step["run"] for step in job["steps"] if step.get("name") == name)
    variables: dict[str, str] = {}
    for variable, value in job["env"].items():
        wanted = value.removeprefix("${{ inputs.").removesuffix(" }}")
        variables[variable] = inputs.get(variable, INPUTS[wanted]["default"]) if wanted in INPUTS else value
    files = {name: str(Path.cwd().parent / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    command = ["bash", "--noprofile", "--norc", "-e", "-c", script]
    return subprocess.run(command, env=os.environ | variables | files, capture_output=True, text=True)


def summary(repository: Path) -> str:
    return (repository.parent / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.slow
def test_the_workflow_compares_every_spec_and_keeps_the_reports(repository: Path) -> None:
    done = step("Validate")
    assert (done.returncode, done.stdout) == (0, "specs/tiny.yaml: valid\nspecs/tiny_wide.yaml: valid\n")
    done = step("Compare", BACKENDS="torch,onnx", OPTIONS="--size 32")
    assert done.returncode == 0, done.stderr
    assert summary(repository) == "- tiny agrees\n- tiny_wide agrees\n"
    assert {path.name for path in (repository / "parity").iterdir()} == {"parity.xml", "parity.html", "parity.json"}


def test_the_workflow_ends_with_the_status_of_the_comparison(repository: Path) -> None:
    done = step("Compare", BACKENDS="torch,nobody")
    assert done.returncode == 3
    assert summary(repository).startswith("- specs/tiny.yaml could not be run: no backend is named 'nobody'")
    (repository / "specs/wrong.yaml").write_text("stem: {x: rellu}\n")
    for name in ("Validate", "Compare"):
        done = step(name)
        assert done.returncode == 2
        assert "specs/wrong.yaml:1:11: stem.x: unknown operation" in done.stderr


def test_the_workflow_does_nothing_where_nothing_has_changed(repository: Path) -> None:
    for name in ("Validate", "Compare"):
        done = step(name, BACKENDS="nobody,neither", CHANGED_SINCE="main", SPECS="specs")
        assert (done.returncode, done.stderr) == (0, "no spec has changed since main\n")
    assert json.loads((repository / "parity/parity.json").read_text()) == []


def test_the_cache_has_a_name_without_what_github_refuses(repository: Path) -> None:
    done = step("Name the cache")
    assert done.returncode == 0, done.stderr
    key = (repository.parent / "GITHUB_OUTPUT").read_text().strip()
    assert key.startswith("key=")
    assert "," not in key
