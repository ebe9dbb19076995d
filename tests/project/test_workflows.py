"""The workflows hold to the project's rules, name what there is, and their scripts do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
# YAML 1.1 takes the key `on` for true.
WORKFLOWS: dict[str, dict[Any, Any]] = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.iterdir()}
JOBS = {f"{name}/{job}": body for name, flow in WORKFLOWS.items() for job, body in flow["jobs"].items()}
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
SCRIPTS = [(name, step["run"]) for name, step in STEPS if "run" in step]
USES = [(name, step) for name, step in STEPS if "uses" in step]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PYTHONS = {
    found[1]
    for classifier in PROJECT["project"]["classifiers"]
    if (found := re.search(r"Python :: (3\.\d+)$", classifier))
}


def matrix(job: str) -> list[dict[str, str]]:
    """Every combination of a job's matrix."""
    found: dict[str, Any] = JOBS[job]["strategy"]["matrix"]
    if "include" in found:
        return found["include"]
    combinations: list[dict[str, str]] = [{}]
    for key, values in found.items():
        combinations = [{**one, key: value} for one in combinations for value in values]
    return combinations


# -- rules -------------------------------------------------------------------------------------------------------


def test_the_workflows_are_these() -> None:
    assert sorted(WORKFLOWS) == ["ci", "nightly", "parity", "release", "site"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_gets_no_more_than_it_needs(name: str) -> None:
    """Only the jobs that publish have an identity, and they run nothing of the repository."""
    job = JOBS[name]
    wanted = {"release/publish": {"id-token": "write"}, "site/publish": {"id-token": "write", "pages": "write"}}
    assert job.get("permissions", {}) == wanted.get(name, {})
    if name == "site/publish":
        assert [step["uses"].partition("@")[0] for step in job["steps"]] == ["actions/deploy-pages"]
        assert job["environment"]["name"] == "github-pages"
        assert job["needs"] == "build"
        assert job["if"] == "github.ref == 'refs/heads/main' && github.event_name != 'pull_request'"
    if name == "release/publish":
        assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
            "actions/download-artifact",
            "pypa/gh-action-pypi-publish",
        ]
        assert job["environment"]["name"] == "pypi"
        assert job["needs"] == ["build", "try"]
        assert job["if"] == "github.ref_type == 'tag'"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends(name: str) -> None:
    assert 0 < JOBS[name]["timeout-minutes"] <= 120


@pytest.mark.parametrize("name", sorted(set(WORKFLOWS) - {"parity"}))
def test_a_newer_run_replaces_an_older_one(name: str) -> None:
    """Except a release, and a commit on main; parity.yml is part of its caller's run."""
    changes = "${{ github.event_name == 'pull_request' }}"
    wanted = {"ci": changes, "nightly": True, "release": False, "site": changes}

    assert WORKFLOWS[name]["concurrency"] == {
        "group": "${{ github.workflow }}-${{ github.ref }}",
        "cancel-in-progress": wanted[name],
    }


def test_an_action_is_pinned_by_one_major_version() -> None:
    used = {step["uses"] for _, step in USES}
    names = [action.partition("@")[0] for action in used]

    assert all(
        re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used - {"pypa/gh-action-pypi-publish@release/v1"}
    )
    assert len(names) == len(set(names))


def test_a_checkout_leaves_no_credentials() -> None:
    checkouts = [step for _, step in USES if step["uses"].startswith("actions/checkout@")]

    assert len(checkouts) > 4
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_script_contains_an_expression() -> None:
    """What comes from outside reaches a script as a variable, which the shell does not read as code."""
    assert [name for name, script in SCRIPTS if "${{" in script] == []


# -- what they name ----------------------------------------------------------------------------------------------


def test_every_supported_python_is_tested_and_tried() -> None:
    tested = {one["python"] for one in matrix("ci/test") + matrix("ci/platforms")}

    assert tested == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={min(PYTHONS, key=lambda p: int(p[2:]))}"
    assert {one["python"] for one in matrix("release/try")} == {"3.11", "3.14"}


def test_every_system_is_tested_and_tried() -> None:
    systems = {"ubuntu-latest", "macos-latest", "windows-latest"}

    assert {one["os"] for one in matrix("ci/platforms")} == systems
    assert {one["os"] for one in matrix("release/try")} == systems


def test_targets_extras_groups_and_folders_are_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    targets = {name for line in targets for name in line.split()}
    scripts = "\n".join(script for name, script in SCRIPTS if not name.startswith("parity/"))
    extras = {extra for one in matrix("ci/platforms") for extra in one["extras"].split(",")}

    assert set(re.findall(r"\bmake ([a-z-]+)", scripts)) == {"lint", "site", "test", "test-all"}
    assert {"lint", "site", "test", "test-all"} <= targets
    assert extras <= set(PROJECT["project"]["optional-dependencies"])
    assert set(re.findall(r"--group (\w+)", scripts)) == {"test"} <= set(PROJECT["dependency-groups"])
    left_out = {name for one in matrix("ci/platforms") for name in one["leave-out"].split()}
    assert all((ROOT / "tests/resnet_spec" / name).exists() for name in left_out)
    folders = set(re.findall(r"\btests/\w+", scripts))
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_what_runs_everywhere_needs_no_tensorflow() -> None:
    """TensorFlow lacks wheels for the newest Python; its packages are in a group and an extra of their own."""
    needed = " ".join(PROJECT["dependency-groups"]["test"] + PROJECT["project"]["dependencies"])

    assert not re.search(r"tensorflow|keras|tf[-_]|timm", needed)
    assert all("tensorflow" not in one["extras"] for one in matrix("ci/platforms"))
    assert "3.14" not in {one["python"] for one in matrix("ci/test")}


def test_one_job_stands_for_all() -> None:
    assert sorted(JOBS["ci/passed"]["needs"]) == sorted(
        name.partition("/")[2] for name in JOBS if name.startswith("ci/") and name != "ci/passed"
    )
    assert JOBS["ci/passed"]["if"] == "always()"


def test_dependabot_updates_what_is_pinned_and_what_is_used() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))

    assert [update["package-ecosystem"] for update in updates] == ["pip", "npm", "github-actions"]
    assert (ROOT / updates[1]["directory"].strip("/") / "package.json").is_file()
    assert all(update["groups"] and update["cooldown"] for update in updates)
    assert set(updates[0]["groups"]["frameworks"]["patterns"]) <= pinned


# -- scripts -----------------------------------------------------------------------------------------------------


def run(name: str, title: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of a job's scripts as GitHub does."""
    (script,) = (step["run"] for step in JOBS[name]["steps"] if step.get("name") == title)
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("results", "status"), [("success success", 0), ("success failure", 1), ("skipped success", 1), ("cancelled", 1)]
)
def test_the_last_job_fails_where_any_job_did_not_succeed(results: str, status: int, tmp_path: Path) -> None:
    assert run("ci/passed", "Require every job", tmp_path, RESULTS=results).returncode == status


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A repository whose version 1.2.3 is built, with a twine that accepts everything."""
    files = {
        "resnet_spec/__init__.py": 'import sys\n\n__version__ = "1.2.3"\n',
        "CHANGELOG.md": "# Changelog\n\n## [1.2.3] - 2026-01-31\n",
        "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.3\n",
        "pyproject.toml": 'Homepage = "https://github.com/someone/resnet-spec"\n',
        "README.md": "text\n",
        "zensical.toml": "text\n",
        "docs/ci.md": "text\n",
        "specs/spec.schema.json": "{}\n",
        "resnet_spec/spec/json_schema.py": "text\n",
        "dist/resnet_spec-1.2.3.tar.gz": "",
        "dist/resnet_spec-1.2.3-py3-none-any.whl": "",
        "bin/python": '#!/bin/sh\necho "$@"\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (tmp_path / "bin/python").chmod(0o755)
    return tmp_path


def check(folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return run("release/build", "Check", folder, TAG=tag, PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("tag", ["v1.2.3", ""])
def test_a_release_that_is_complete_passes(release: Path, tag: str) -> None:
    done = check(release, tag)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("-m twine check --strict dist/")


@pytest.mark.parametrize(
    ("file", "text", "tag", "message"),
    [
        ("docs/ci.md", "text\n", "v1.2.4", "the tag is v1.2.4 and the version is 1.2.3"),
        ("CHANGELOG.md", "## 1.2.3 - unreleased\n", "v1.2.3", "CHANGELOG.md has no heading '## 1.2.3 - YYYY-MM-DD'"),
        ("CHANGELOG.md", "## 1x2.3 - 2026-01-31\n", "v1.2.3", "CHANGELOG.md has no heading '## 1.2.3 - YYYY-MM-DD'"),
        ("CITATION.cff", "version: 1.2.2\n", "v1.2.3", "CITATION.cff is not of version 1.2.3"),
        ("docs/ci.md", "https://github.com/OWNER/resnet-spec\n", "v1.2.3", "replace OWNER by the repository's owner"),
        (
            "specs/spec.schema.json",
            "https://github.com/OWNER/resnet-spec\n",
            "v1.2.3",
            "replace OWNER by the repository's owner",
        ),
        (
            "zensical.toml",
            "https://OWNER.github.io/resnet-spec/\n",
            "v1.2.3",
            "replace OWNER by the repository's owner",
        ),
    ],
)
def test_a_release_that_lacks_something_fails(release: Path, file: str, text: str, tag: str, message: str) -> None:
    (release / file).write_text(text, "utf-8")
    done = check(release, tag)

    assert done.returncode == 1
    assert message in done.stdout


def test_a_release_of_another_version_than_was_built_fails(release: Path) -> None:
    (release / "dist/resnet_spec-1.2.3.tar.gz").unlink()

    assert check(release, "v1.2.3").returncode != 0


@pytest.mark.slow
def test_the_distributions_are_tried_in_clean_environments(tmp_path: Path) -> None:
    """The wheel by the release's own script; from an sdist pip builds the same wheel, which Build checks."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", ROOT]
    subprocess.run(command, check=True, timeout=300)
    # The script loops over both kinds: none of the other is there.
    script = {"BASH_ENV": str(tmp_path / "options")}
    script |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_COMPILE": "0"}
    (tmp_path / "options").write_text("shopt -s nullglob\n", "utf-8")
    done = run("release/try", "Try the wheel and the sdist", tmp_path, **script)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[0-9a-f]{64}$", done.stdout, re.MULTILINE)
    assert "resnet50" in (tmp_path / "summary.txt").read_text("utf-8")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = re.search('^__version__ = "(.*)"$', (ROOT / "resnet_spec/__init__.py").read_text("utf-8"), re.MULTILINE)

    assert version
    assert citation["version"] == version[1]
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Homepage"]
