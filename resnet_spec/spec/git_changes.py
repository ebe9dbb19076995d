"""Finds the specs that a change affects, from git's changed files and the files that each spec depends on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from resnet_spec.errors import ResnetSpecError, SpecError
from resnet_spec.spec.catalog import ENDINGS, Catalog
from resnet_spec.spec.dependencies import files, kind


class GitError(ResnetSpecError):
    """git is not installed."""

    exit_status = 3


def changed_since(revision: str, where: Iterable[str] = ()) -> list[Path]:
    """The specs that changes since a git revision affect, including uncommitted changes and untracked files.

    As in a pull request, changes count from the last commit that the revision and HEAD have in common. ``where`` lists
    folders and single specs, by default the current folder. A deleted spec is not listed, but affects those that depend
    on it. Raises SpecError outside a repository, or if the revision is unknown.
    """
    return affected_by(_changed_files(revision), where)


def affected_by(changed: Iterable[Path], where: Iterable[str] = ()) -> list[Path]:
    """The specs among ``where`` that depend on one of the ``changed`` files; see ``changed_since``."""
    paths = {_unique(path) for path in changed}
    affected = {spec: None for spec in _specs(where or (".",)) if any(_is_in(paths, file) for file in files(spec))}
    return [spec for spec in affected if spec.exists() or not _is_in(paths, spec)]


def _specs(where: Iterable[str]) -> Iterator[Path]:
    for name in where:
        if Path(name).is_dir():
            yield from _specs_below(Path(name))
        elif name.endswith(ENDINGS):
            yield Path(name)
        else:
            yield _shipped(name)


def _shipped(name: str) -> Path:
    try:
        return Catalog.shipped().find(name)
    except SpecError as error:
        raise SpecError(f"{name!r} is not a folder, and {error}") from None


def _specs_below(folder: Path) -> Iterator[Path]:
    """As git lists them, without ignored files such as environments and build outputs."""
    listed = _git(
        folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *map("*{}".format, ENDINGS)
    )
    for name in sorted(set(listed.split("\0")) - {""}):
        path = folder / name
        try:
            if path.exists() and kind(path) == "spec":
                yield path
        except SpecError:
            # Other programs' YAML need not follow this language's rules, such as templates.
            continue


def _changed_files(revision: str) -> list[Path]:
    top = Path(_git(Path(), "rev-parse", "--show-toplevel").removesuffix("\n"))
    start = _start(revision)
    changed = _git(top, "diff", "--name-only", "--no-renames", "-z", start, "--")
    untracked = _git(top, "ls-files", "-z", "--others", "--exclude-standard")
    return [top / name for name in (changed + untracked).split("\0") if name]


def _start(revision: str) -> str:
    """The commit from which changes count."""
    here = Path()
    try:
        commit = _git(here, "rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}").strip()
    except SpecError:
        shallow = _git(here, "rev-parse", "--is-shallow-repository").strip() == "true"
        hint = "; this is a shallow clone, which lacks most revisions" if shallow else ""
        raise SpecError(f"unknown git revision {revision!r}{hint}") from None
    try:
        return _git(here, "merge-base", commit, "HEAD").strip()
    except SpecError:
        # Nothing in common, or a clone too shallow to know.
        return commit


def _is_in(paths: Collection[Path], file: Path) -> bool:
    """Whether a file, or the target of a symbolic link, is among some paths."""
    return _unique(file) in paths or file.resolve() in paths


def _unique(file: Path) -> Path:
    """A unique path for a file; for a symbolic link, that of the link."""
    return file.parent.resolve() / file.name


def _git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        raise GitError("git is not installed, and is needed to find what has changed")
    done = subprocess.run([program, "-C", folder, *arguments], capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        output = os.fsdecode(done.stderr).strip().splitlines()
        raise SpecError(f"git: {output[0].removeprefix('fatal: ')}" if output else f"git {arguments[0]} failed")
    return os.fsdecode(done.stdout)
