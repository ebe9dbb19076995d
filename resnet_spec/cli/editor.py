"""Names the schemas in a file's first line, or in the settings of a project for VS Code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

MODELINE = "# yaml-language-server: $schema="
"""How the first line begins by which editors find a file's schema."""

SETTINGS = Path(".vscode", "settings.json")
SCHEMAS = "yaml.schemas"
"""The setting of VS Code's YAML extension that maps schemas to patterns of files."""

_NOT_CODE = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING = re.compile(r'"(?:[^"\\\n]|\\.)*"|,(?=\s*[}\]])')
_SKIPPED = ("node_modules", "site-packages")


def with_installed_schema(text: str) -> str:
    """Return a shipped file's text whose first line names the schema by its place on this machine."""
    from resnet_spec.spec.catalog import Catalog

    first, newline, rest = text.partition("\n")
    if not first.startswith(MODELINE):
        return text
    path = Catalog.shipped().root / Path(first.removeprefix(MODELINE)).name
    return f"{MODELINE}{path.as_uri()}{newline}{rest}"


def install_modeline(file: Path) -> Path:
    """Write the schema of a file beside it and name it in the first line; all else in the file stays."""
    from resnet_spec.errors import SpecError
    from resnet_spec.spec.dependencies import check_kind, kind
    from resnet_spec.weights.atomic import replacing

    check_kind(file)
    of = kind(file)
    if of is None:
        raise SpecError(f"{file}: neither a spec nor a block")
    # The file itself, where its name is a link.
    file = file.resolve()
    target = _write_schema(file.parent, of)
    text = file.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    first, newline, rest = text.removeprefix(mark).partition("\n")
    ending = "\r" if first.endswith("\r") else ""
    old = f"{first}{newline}{rest}" if not first.startswith(MODELINE) else rest
    with replacing(file, force=True) as temporary:
        temporary.write_bytes(f"{mark}{MODELINE}{target.name}{ending}\n{old}".encode())
    return target


def install_settings(folder: Path) -> dict[str, list[str]]:
    """Name the schemas in a project's settings for VS Code; return the patterns of files for each schema.

    All else in the settings stays, comments too.
    """
    from resnet_spec.errors import OutputError, SpecError
    from resnet_spec.weights.atomic import replacing

    found = _patterns(folder)
    if not found:
        raise SpecError(
            f"{folder.resolve()}: no file below this folder is a spec or a block; write one first, such as with "
            "'resnet-spec show resnet50 > mine.yaml'"
        )
    settings = folder / SETTINGS
    try:
        settings.parent.mkdir(exist_ok=True)
        old = settings.read_bytes() if settings.exists() else b""
    except OSError as error:
        raise OutputError(f"{error.filename}: {error.strerror or error}") from None
    try:
        text = old.decode("utf-8").replace("\r\n", "\n")
        text = text if text.strip() else "{}\n"
        for of, patterns in found.items():
            name = (SETTINGS.parent / f"{of}.schema.json").as_posix()
            text = with_member(text, (SCHEMAS, name), patterns)
    except ValueError as error:
        raise OutputError(f"{settings}: is not changed, since it is not JSON with comments ({error})") from None
    for of in found:
        _write_schema(settings.parent, of)
    with replacing(settings, force=True) as temporary:
        temporary.write_bytes((text.replace("\n", "\r\n") if b"\r\n" in old else text).encode())
    return {f"{of}.schema.json": patterns for of, patterns in found.items()}


def _patterns(folder: Path) -> dict[str, list[str]]:
    """The specs and the blocks below a folder, by the pattern of a folder's files where all are of one kind."""
    from resnet_spec.errors import SpecError
    from resnet_spec.spec.catalog import ENDINGS
    from resnet_spec.spec.dependencies import kind

    found: dict[str, list[str]] = {}
    for parent, names in _folders(folder):
        kinds: dict[str, str | None] = {}
        for name in names:
            if name.endswith(ENDINGS):
                try:
                    kinds[name] = kind(parent / name)
                except SpecError:
                    # Other programs' YAML need not follow this language's rules.
                    kinds[name] = None
        prefix = parent.relative_to(folder).as_posix().removeprefix(".")
        prefix = f"{prefix}/" if prefix else ""
        alike = len(set(kinds.values())) == 1 and bool(prefix)
        for name, of in sorted(kinds.items()):
            pattern = f"{prefix}{f'*{Path(name).suffix}' if alike else name}"
            if of is not None and pattern not in found.setdefault(of, []):
                found[of].append(pattern)
    return found


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, but hidden ones, environments and other people's code."""
    for parent, folders, names in os.walk(folder):
        path = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED and not (path / name / "pyvenv.cfg").exists()
        )
        yield path, names


def with_member(text: str, path: tuple[str, ...], value: Any) -> str:
    """Return JSON with comments in which the member at a path has another value, and all else stays as it is.

    Args:
        text: JSON as VS Code reads it: with comments, and commas before closing brackets.
        path: The keys of the member, the outer first. Objects that do not exist are added.
        value: The member's value.

    Returns:
        The text with the member, which is the first of its object if it is new.

    Raises:
        ValueError: The text is not such JSON, or has no object where the path needs one.

    Examples:
        >>> print(with_member('{\\n  "a": 1 // one\\n}', ("b", "c"), [2]))
        {
          "b": {
            "c": [
              2
            ]
          },
          "a": 1 // one
        }
    """
    code = _TRAILING.sub(lambda found: found[0] if len(found[0]) > 1 else " ", _NOT_CODE.sub(_blank, text))
    json.loads(code)
    start, depth = code.index("{") if code.strip().startswith("{") else -1, 0
    if start < 0:
        raise ValueError("not an object")
    for depth, key in enumerate(path, 1):
        members = _members(code, start)
        if key not in members:
            break
        start, end = members[key]
        if depth == len(path):
            return text[:start] + _shown(value, depth) + text[end:]
        if code[start] != "{":
            raise ValueError(f"{key!r} is not an object")
    for outer in reversed(path[depth:]):
        value = {outer: value}
    rest = text[start + 1 :] if _members(code, start) else text[start + 1 :].lstrip()
    comma, indent = ("," if _members(code, start) else f"\n{'  ' * (depth - 1)}"), "  " * depth
    return f"{text[: start + 1]}\n{indent}{json.dumps(path[depth - 1])}: {_shown(value, depth)}{comma}{rest}"


def _blank(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])


def _shown(value: Any, depth: int) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n" + "  " * depth)


def _members(code: str, start: int) -> dict[str, tuple[int, int]]:
    """Where the value of each member of the object begins and ends that begins at ``start``."""
    decoder, found = json.JSONDecoder(), dict[str, tuple[int, int]]()
    at = start + 1
    while (at := _next(code, at, " \t\r\n,")) < len(code) and code[at] != "}":
        key, at = decoder.raw_decode(code, at)
        begin = _next(code, at, " \t\r\n:")
        _, at = decoder.raw_decode(code, begin)
        found[cast("str", key)] = begin, at
    return found


def _next(code: str, at: int, skipped: str) -> int:
    while at < len(code) and code[at] in skipped:
        at += 1
    return at


def _write_schema(folder: Path, of: str) -> Path:
    from resnet_spec.errors import OutputError
    from resnet_spec.spec.catalog import Catalog
    from resnet_spec.weights.atomic import replacing

    target = folder / f"{of}.schema.json"
    if target.exists() and not _is_ours(target):
        raise OutputError(f"{target}: exists, and is another schema")
    with replacing(target, force=True) as temporary:
        # A copy of the shipped one, since it takes seconds to make.
        temporary.write_bytes((Catalog.shipped().root / target.name).read_bytes())
    return target


def _is_ours(path: Path) -> bool:
    """Whether a file is a schema of this package, of whatever version."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and "/resnet-spec/" in str(cast("dict[str, Any]", found).get("$id", ""))
