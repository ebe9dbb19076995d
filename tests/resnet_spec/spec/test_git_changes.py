"""Which specs a change touches, in real git repositories, and what the commands make of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from resnet_spec.errors import SpecError
from resnet_spec.spec.dependencies import files, kind
from resnet_spec.spec.git_changes import changed_since

BASE = "stem: {conv: {conv2d: {channels: 4, kernel: 3}}}\n"
BLOCK = "block: mine\nparameters: {channels: int}\nmain: {conv: {conv2d: {channels: channels, kernel: 1}}}\n"
FILES = {
    "specs/base.yaml": BASE,
    "specs/middle.yml": "extends: base.yaml\nhead: {pool: global_avg_pool}\n",
    "specs/deep/top.yaml": "extends: ../middle.yml\nhead: {flat: flatten}\n",
    "specs/other.yaml": BASE,
    "specs/using.yaml": "blocks: {own: ../blocks/mine.yaml}\nstages: {layer1: {block: own, channels: 4}}\n",
    "blocks/mine.yaml": BLOCK,
    "specs/shipped.yaml": "extends: resnet18\n",
}
OTHER_YAML = {
    "deploy/template.yaml": "name: {{ .Values.name }}\nextends_: 1\n",
    "deploy/list.yml": "- head: {a: 1}\n",
    "pipeline.yml": "stages: [build, test]\nextends: {template: x}\n",
    "lint.yaml": "extends: recommended\nrules: {a: off}\n",
    "empty.yaml": "",
}

Run = Callable[..., str]
Command = Callable[..., Any]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A repository with one commit, in which the test then runs; runs git there."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (repository := tmp_path / "repository").mkdir()
    monkeypatch.chdir(repository)

    def run(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    write(FILES | OTHER_YAML)
    run("init", "--quiet", "--initial-branch=main")
    run("add", ".")
    run("commit", "--quiet", "--message=first")
    return run


def write(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(dedent(text), encoding="utf-8")


def touch(name: str) -> None:
    with Path(name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")


def changed(revision: str = "HEAD", where: Iterable[str] = ()) -> list[str]:
    return [path.as_posix() for path in changed_since(revision, where)]


# -- what is touched ---------------------------------------------------------------------------------------------


def test_nothing_has_changed_since_the_last_commit(git: Run) -> None:
    assert changed() == []


def test_a_spec_that_nothing_extends_is_all_that_its_change_touches(git: Run) -> None:
    touch("specs/other.yaml")
    assert changed() == ["specs/other.yaml"]


def test_a_change_touches_whatever_extends_the_file_however_far(git: Run) -> None:
    touch("specs/base.yaml")
    assert changed() == ["specs/base.yaml", "specs/deep/top.yaml", "specs/middle.yml"]


def test_a_change_of_a_block_touches_the_specs_that_use_it_and_is_none_itself(git: Run) -> None:
    touch("blocks/mine.yaml")
    assert changed() == ["specs/using.yaml"]


def test_what_is_not_staged_has_changed(git: Run) -> None:
    touch("specs/other.yaml")
    assert changed() == ["specs/other.yaml"]


def test_what_is_staged_has_changed(git: Run) -> None:
    touch("specs/other.yaml")
    git("add", ".")
    assert changed() == ["specs/other.yaml"]


def test_what_is_untracked_has_changed(git: Run) -> None:
    write({"specs/new.yaml": "extends: base.yaml\n"})
    assert changed() == ["specs/new.yaml"]


def test_what_was_renamed_has_changed_and_so_has_what_was_read_from_it(git: Run) -> None:
    git("mv", "specs/middle.yml", "specs/between.yml")
    assert changed() == ["specs/between.yml", "specs/deep/top.yaml"]


def test_what_was_committed_since_has_changed(git: Run) -> None:
    touch("specs/other.yaml")
    git("commit", "--quiet", "--all", "--message=second")
    touch("specs/shipped.yaml")
    assert changed("HEAD") == ["specs/shipped.yaml"]
    assert changed("HEAD~1") == ["specs/other.yaml", "specs/shipped.yaml"]


def test_changes_on_another_branch_since_the_merge_base_do_not_count(git: Run) -> None:
    git("checkout", "--quiet", "-b", "feature")
    touch("specs/other.yaml")
    git("commit", "--quiet", "--all", "--message=ours")
    git("checkout", "--quiet", "main")
    touch("specs/base.yaml")
    git("commit", "--quiet", "--all", "--message=theirs")
    git("checkout", "--quiet", "feature")
    assert changed("main") == ["specs/other.yaml"]


def test_what_git_ignores_is_not_looked_at(git: Run) -> None:
    write({".gitignore": "environment/\n", "environment/specs/base.yaml": BASE})
    assert changed() == []


def test_a_deleted_spec_is_skipped_and_touches_those_that_extended_it(git: Run) -> None:
    Path("specs/middle.yml").unlink()
    assert changed() == ["specs/deep/top.yaml"]
    assert changed(where=["specs/middle.yml"]) == []


def test_folders_and_single_specs_may_be_named(git: Run) -> None:
    touch("specs/base.yaml")
    touch("specs/other.yaml")
    assert changed(where=["specs/deep"]) == ["specs/deep/top.yaml"]
    assert changed(where=["specs/other.yaml", "specs/shipped.yaml", "resnet18"]) == ["specs/other.yaml"]
    with pytest.raises(SpecError, match="'spces' is not a folder, and no shipped spec is named 'spces'"):
        changed(where=["spces"])


def test_paths_are_relative_to_the_current_folder(git: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("specs/base.yaml")
    monkeypatch.chdir("specs/deep")
    assert changed() == ["top.yaml"]
    assert changed(where=[".."]) == ["../base.yaml", "../deep/top.yaml", "../middle.yml"]


def test_a_link_changes_with_what_it_leads_to(git: Run) -> None:
    Path("specs/link.yaml").symlink_to("other.yaml")
    git("add", ".")
    git("commit", "--quiet", "--message=link")
    touch("specs/other.yaml")
    assert changed() == ["specs/link.yaml", "specs/other.yaml"]


def test_other_yaml_is_not_a_spec_and_a_broken_spec_is_one(git: Run) -> None:
    for name in OTHER_YAML:
        touch(name)
    write({"specs/other.yaml": "stem: {conv: [\n", "specs/twice.yaml": "extends: base.yaml\nextends: base.yaml\n"})
    assert changed() == ["specs/other.yaml", "specs/twice.yaml"]


def test_a_spec_a_block_and_neither_are_distinguished(git: Run) -> None:
    write({"plain.yaml": "a: 1\n", "variant.yaml": "extends: bottleneck\nparameters: {width: 1}\n"})
    assert {name: kind(Path(name)) for name in FILES} == {
        name: "block" if name == "blocks/mine.yaml" else "spec" for name in FILES
    }
    assert kind(Path("variant.yaml")) == "block"
    assert kind(Path("plain.yaml")) is None


def test_the_files_of_a_spec_are_reported_even_where_it_goes_in_a_circle(git: Run) -> None:
    assert [file.name for file in files(Path("specs/deep/top.yaml"))] == ["top.yaml", "middle.yml", "base.yaml"]
    assert {"resnet18.yaml", "basic_block.yaml", "conv_projection.yaml"} <= {
        file.name for file in files(Path("specs/shipped.yaml"))
    }
    write({"specs/circle.yaml": "extends: deep/../circle.yaml\n"})
    assert files(Path("specs/circle.yaml")) == [Path("specs/circle.yaml")]


# -- what git cannot tell ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["nonsense", "", "--output=written", "HEAD^{tree}"])
def test_an_unknown_revision_is_one_line(git: Run, revision: str) -> None:
    with pytest.raises(SpecError) as caught:
        changed(revision)
    assert str(caught.value) == f"unknown git revision {revision!r}"
    assert not Path("written").exists()


def test_a_shallow_clone_is_reported_as_the_likely_reason(git: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("specs/other.yaml")
    git("commit", "--quiet", "--all", "--message=second")
    git("clone", "--quiet", "--depth=1", Path.cwd().as_uri(), "../shallow")
    monkeypatch.chdir("../shallow")
    with pytest.raises(SpecError, match="unknown git revision 'HEAD~1'; this is a shallow clone"):
        changed("HEAD~1")


@pytest.mark.parametrize("name", ["validate", "parity"])
def test_an_unwritable_output_ends_with_a_line_and_a_status(
    git: Run, name: str, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command("resnet-spec", name, "--changed-since", "x") == (2, "", "unknown git revision 'x'\n")
    monkeypatch.chdir(tmp_path)
    done = command("resnet-spec", name, "--changed-since", "HEAD")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("git: not a git repository")
    assert len(done.err.splitlines()) == 1
    monkeypatch.setenv("PATH", "")
    done = command("resnet-spec", name, "--changed-since", "HEAD")
    assert done == (3, "", "git is not installed, and is needed to find what has changed\n")


# -- the commands ------------------------------------------------------------------------------------------------


def test_validate_checks_what_has_changed_alone(git: Run, command: Command) -> None:
    write({"specs/other.yaml": "stem: {x: rellu}\n"})
    touch("specs/base.yaml")
    done = command("resnet-spec", "validate", "--changed-since", "HEAD")
    assert done.status == 2
    assert done.out == "specs/base.yaml: valid\nspecs/deep/top.yaml: valid\nspecs/middle.yml: valid\n"
    assert done.err.startswith("specs/other.yaml:1:11: stem.x: unknown operation, block or layer 'rellu'")


def test_a_spec_whose_base_was_deleted_is_reported_as_invalid(git: Run, command: Command) -> None:
    Path("specs/base.yaml").unlink()
    for name in ("validate", "parity"):
        done = command("resnet-spec", name, "--changed-since", "HEAD")
        assert (done.status, done.out) == (2, "")
        assert "specs/middle.yml:1:10: extends: specs/base.yaml: No such file or directory" in done.err.splitlines()


@pytest.mark.parametrize("name", ["validate", "parity"])
def test_no_change_is_reported_with_status_0(git: Run, name: str, command: Command) -> None:
    # Of backends that nobody has, since none is started.
    options = ["--backends", "neither,nor"] if name == "parity" else []
    done = command("resnet-spec", name, *options, "--changed-since", "HEAD")
    assert done == (0, "", "no spec has changed since HEAD\n")


def test_no_change_is_an_empty_list_for_machines(git: Run, command: Command) -> None:
    done = command("resnet-spec", "parity", "--changed-since=HEAD", "--json", "--junit=junit.xml", "--html=page.html")
    assert (done.status, done.out) == (0, "[]\n")
    assert Path("junit.xml").exists()
    assert Path("page.html").exists()


def test_parity_tells_the_mistakes_of_every_spec_at_once(git: Run, command: Command) -> None:
    write({"specs/one.yaml": "stem: {x: rellu}\n", "specs/two.yaml": "stem: {x: cnv2d}\n"})
    done = command("resnet-spec", "parity", "--backends", "neither,nor", "--changed-since", "HEAD")
    assert done.status == 2
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["specs/one.yaml", "specs/two.yaml"]


def test_validate_takes_no_other_choice_beside_a_revision(git: Run, command: Command) -> None:
    for option in ("--all", "--dependents"):
        done = command("resnet-spec", "validate", "--changed-since", "HEAD", option)
        assert done.status == 2
        assert "--changed-since cannot be combined with --all or --dependents" in done.err


def test_validate_checks_what_is_read_from_the_named_files_too(git: Run, command: Command) -> None:
    write({"blocks/mine.yaml": BLOCK.replace("{channels: int}", "{channels: int, kernel: int}")})
    alone = command("resnet-spec", "validate", "blocks/mine.yaml")
    assert alone == (0, "blocks/mine.yaml: valid block\n", "")
    done = command("resnet-spec", "validate", "--dependents", "blocks/mine.yaml", "specs/base.yaml")
    assert done.status == 2
    assert done.out.splitlines() == [
        "blocks/mine.yaml: valid block",
        "specs/base.yaml: valid",
        "specs/deep/top.yaml: valid",
        "specs/middle.yml: valid",
    ]
    assert "specs/using.yaml" in done.err
    assert "kernel" in done.err


def test_validate_locates_what_is_wrong_in_a_block_of_its_own(git: Run, command: Command) -> None:
    write({"blocks/mine.yaml": "block: mine\nmain:\n  conv: 5\naftre: {}\n"})
    done = command("resnet-spec", "validate", "blocks/mine.yaml")
    assert (done.status, done.out) == (2, "")
    assert [line.split(": ")[0] for line in done.err.splitlines()] == ["blocks/mine.yaml:3:9", "blocks/mine.yaml:4:1"]
    assert "unknown key 'aftre'; did you mean 'after'?" in done.err


def test_a_block_that_extends_one_of_its_users_is_left_to_them(git: Run, command: Command) -> None:
    write({"blocks/variant.yaml": "extends: mine\nmain: {act: relu}\n"})
    assert command("resnet-spec", "validate", "blocks/variant.yaml").status == 0


def test_validate_reports_what_a_file_lacks_to_be_a_spec(git: Run, command: Command) -> None:
    write({"rules.yaml": "rules: {a: off}\n"})
    done = command("resnet-spec", "validate", "rules.yaml")
    wanted = "neither a spec, which has one of stem, stages, final, head, extends, nor a block, which has main"
    assert done == (2, "", f"rules.yaml: {wanted}\n")
