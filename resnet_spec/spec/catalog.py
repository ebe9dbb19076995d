"""The shipped specs and blocks by name: a spec's name is its path below the folder, without the ending."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from resnet_spec import hub
from resnet_spec.document.files import STDIN, read
from resnet_spec.document.parser import Document
from resnet_spec.errors import SpecError, suggest

PREFERRED = "torchvision"
"""The family that a bare name means if several have it."""

ENDINGS = (".yaml", ".yml")


class Catalog:
    """A folder of specs with a folder ``blocks`` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._documents: dict[Path, Document] = {}
        self._names: list[str] | None = None

    @classmethod
    @cache
    def shipped(cls) -> Catalog:
        """The catalog inside this package, or beside it in a checkout."""
        package = Path(__file__).parent.parent
        inside = package / "specs"
        return cls(inside if inside.is_dir() else package.parent / "specs")

    def names(self) -> list[str]:
        """Names of the specs, sorted; the folder is searched once."""
        if self._names is None:
            found = (path for path in self.root.rglob("*.yaml") if path.parent.name != "blocks")
            self._names = sorted(map(self._relative, found))
        return list(self._names)

    def bare_names(self) -> dict[str, str]:
        """The bare names that mean one spec, each with that spec's full name."""
        found: dict[str, str] = {}
        for name in self.names():
            bare = name.rpartition("/")[2]
            found[bare] = "" if bare in found else name
        preferred = {name.rpartition("/")[2]: name for name in self.names() if name.startswith(f"{PREFERRED}/")}
        return {bare: name for bare, name in (found | preferred).items() if name}

    def blocks(self) -> dict[str, Path]:
        """Files of the blocks by name."""
        return {path.stem: path for path in sorted((self.root / "blocks").glob("*.yaml"))}

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).with_suffix("").as_posix()

    def find(self, spec: str) -> Path:
        """The file of a shipped spec by its full or bare name; raises SpecError if there is none, or several."""
        names = self.names()
        if spec in names:
            return self.root / f"{spec}.yaml"
        having = [name for name in names if name.rpartition("/")[2] == spec]
        if not having:
            hint = self.suggestion(spec) or "; 'resnet-spec list' shows the shipped specs"
            raise SpecError(f"no shipped spec is named {spec!r}{hint} (a file's path ends in .yaml or .yml)")
        preferred = f"{PREFERRED}/{spec}"
        if len(having) > 1 and preferred not in having:
            raise SpecError(f"several families have a {spec!r}: {', '.join(having)}; give the full name")
        return self.root / f"{preferred if preferred in having else having[0]}.yaml"

    def suggestion(self, spec: str) -> str:
        """``"; did you mean 'x'?"`` with the spec that has the most similar name, the preferred family's first."""
        bare = {name: name.rpartition("/")[2] for name in self.names()}
        preferred = {short for name, short in bare.items() if name.startswith(PREFERRED)}
        return suggest(spec, [*bare, *bare.values()], preferred)

    def locate(self, spec: str | Path, folder: Path | None = None) -> Path:
        """The file of a spec: a path, which a text that ends like one is from ``folder``, a shipped name, or fetched.

        ``-`` is standard input, except in a file, which has a folder. A spec that was fetched from the Hub may name
        shipped specs only: files would be those of its reader.
        """
        if folder is None and spec == "-":
            return STDIN
        folder = folder or Path()
        names_file = isinstance(spec, Path) or spec.endswith(ENDINGS)
        if hub.is_fetched(folder) and (names_file or hub.is_address(spec)):
            raise SpecError(f"a spec from the Hub names shipped specs and blocks only, not {str(spec)!r}")
        if isinstance(spec, str) and hub.is_address(spec):
            return hub.fetch(spec, hub.SPEC)
        return folder / spec if names_file else self.find(str(spec))

    def find_block(self, name: str) -> Path:
        """The file of a shipped block; raises SpecError if there is none."""
        known = self.blocks()
        if name not in known:
            hint = suggest(name, known) or "; 'resnet-spec blocks' shows the shipped blocks"
            raise SpecError(f"no shipped block is named {name!r}{hint}")
        return known[name]

    def document(self, path: Path) -> Document:
        """A shipped file, read once; the caller may change the document."""
        if path not in self._documents:
            self._documents[path] = read(path)
        return self._documents[path].copy()

    def owns(self, path: Path) -> bool:
        """Whether a file is one of this catalog's."""
        return path.is_relative_to(self.root)

    def name(self, path: Path) -> str:
        """The name of a spec file: its name here, or the file's own with other characters replaced."""
        if self.owns(path):
            return self._relative(path)
        return "stdin" if path == STDIN else re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem)[:100]


def available() -> list[str]:
    """Names of the shipped specs.

    Returns:
        Full names such as ``torchvision/resnet50``, sorted.

    Examples:
        >>> import resnet_spec
        >>> [name for name in resnet_spec.available() if name.startswith("keras/")][:2]
        ['keras/resnet101', 'keras/resnet101v2']
    """
    return Catalog.shipped().names()
