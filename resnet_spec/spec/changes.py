"""Which specs a change touches: git knows the files that changed, and each spec the files that it is read from."""

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
    """There is no git to be asked."""

    exit_status = 3


def changed_since(revision: str, where: Iterable[str] = ()) -> list[Path]:
    """The specs that a change since a git revision touches; what is not committed yet, or untracked, counts too.

    As in a pull request, a change is one since the last commit that the revision and HEAD have in common. ``where``
    are folders and single specs, by default the current folder. A deleted file is none of the specs, but touches those
    that were read from it. Raises SpecError outside a repository, or where the revision is unknown.
    """
    return touched_by(_changed_files(revision), where)


def touched_by(changed: Iterable[Path], where: Iterable[str] = ()) -> list[Path]:
    """The specs among ``where`` that are read from one of the ``changed`` files; see ``changed_since``."""
    places = {_place(path) for path in changed}
    touched = {spec: None for spec in _specs(where or (".",)) if any(_is_in(places, file) for file in files(spec))}
    return [spec for spec in touched if spec.exists() or not _is_in(places, spec)]


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
        raise SpecError(f"{name!r} is no folder, and {error}") from None


def _specs_below(folder: Path) -> Iterator[Path]:
    """As git lists them, which leaves out what is ignored: environments, build outputs."""
    listed = _git(
        folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *map("*{}".format, ENDINGS)
    )
    for name in sorted(set(listed.split("\0")) - {""}):
        path = folder / name
        try:
            if path.exists() and kind(path) == "spec":
                yield path
        except SpecError:
            # Other programs have YAML that is none by this language's rules, such as templates.
            continue


def _changed_files(revision: str) -> list[Path]:
    top = Path(_git(Path(), "rev-parse", "--show-toplevel").removesuffix("\n"))
    start = _start(revision)
    changed = _git(top, "diff", "--name-only", "--no-renames", "-z", start, "--")
    untracked = _git(top, "ls-files", "-z", "--others", "--exclude-standard")
    return [top / name for name in (changed + untracked).split("\0") if name]


def _start(revision: str) -> str:
    """The commit from which on changes count."""
    here = Path()
    try:
        commit = _git(here, "rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}").strip()
    except SpecError:
        shallow = _git(here, "rev-parse", "--is-shallow-repository").strip() == "true"
        hint = "; this is a shallow clone, which lacks most of them" if shallow else ""
        raise SpecError(f"git knows no revision {revision!r}{hint}") from None
    try:
        return _git(here, "merge-base", commit, "HEAD").strip()
    except SpecError:
        # Nothing in common, or a clone too shallow to know.
        return commit


def _is_in(places: Collection[Path], file: Path) -> bool:
    """Whether a file or, of a symbolic link, what it leads to is among some places."""
    return _place(file) in places or file.resolve() in places


def _place(file: Path) -> Path:
    """One name for a file, whichever way leads to it; of a symbolic link its own."""
    return file.parent.resolve() / file.name


def _git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        raise GitError("git is not installed, which alone knows what has changed")
    done = subprocess.run([program, "-C", folder, *arguments], capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().splitlines()
        raise SpecError(f"git: {said[0].removeprefix('fatal: ')}" if said else f"git {arguments[0]} failed")
    return os.fsdecode(done.stdout)
