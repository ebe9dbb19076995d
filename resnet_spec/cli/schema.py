"""``resnet-spec schema``: the JSON Schema of the language, printed or installed for an editor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from resnet_spec.cli.common import print_json

MODELINE = "# yaml-language-server: $schema="
"""How the first line begins by which editors find a file's schema."""


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--block", is_flag=True, help="Print the schema of a file of a block.")
@click.option("--install", is_flag=True, help="Write the schema beside each FILE, and name it in the first line.")
def schema(files: tuple[Path, ...], block: bool, install: bool) -> None:
    """Print the JSON Schema of the language, which editors use to complete and check specs."""
    if install != bool(files) or (install and block):
        raise click.UsageError("--install takes the files of specs and blocks, and nothing else does")
    for file in files:
        click.echo(f"{file}: checked by {_install(file).name}")
    if not install:
        print_json(_schema("block" if block else "spec"))


def with_installed_schema(text: str) -> str:
    """Return a shipped file's text whose first line names the schema by its place on this machine."""
    from resnet_spec.spec.catalog import Catalog

    first, newline, rest = text.partition("\n")
    if not first.startswith(MODELINE):
        return text
    path = Catalog.shipped().root / Path(first.removeprefix(MODELINE)).name
    return f"{MODELINE}{path.as_uri()}{newline}{rest}"


def _schema(kind: str) -> dict[str, Any]:
    from resnet_spec.spec.json_schema import block_schema, spec_schema

    return block_schema() if kind == "block" else spec_schema()


def _install(file: Path) -> Path:
    """Write the schema of a file beside it and name it in the first line; all else in the file stays."""
    from resnet_spec.errors import OutputError, SpecError
    from resnet_spec.spec.dependencies import check_kind, kind
    from resnet_spec.weights.atomic import replacing

    check_kind(file)
    of = kind(file)
    if of is None:
        raise SpecError(f"{file}: neither a spec nor a block")
    # The file itself, where its name is a link.
    file = file.resolve()
    target = file.with_name(f"{of}.schema.json")
    if target.exists() and not _is_ours(target):
        raise OutputError(f"{target}: exists, and is another schema")
    with replacing(target, force=True) as temporary:
        temporary.write_text(json.dumps(_schema(of), indent=2, ensure_ascii=False) + "\n", "utf-8")
    text = file.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    first, newline, rest = text.removeprefix(mark).partition("\n")
    ending = "\r" if first.endswith("\r") else ""
    old = f"{first}{newline}{rest}" if not first.startswith(MODELINE) else rest
    with replacing(file, force=True) as temporary:
        temporary.write_bytes(f"{mark}{MODELINE}{target.name}{ending}\n{old}".encode())
    return target


def _is_ours(path: Path) -> bool:
    """Whether a file is a schema of this package, of whatever version."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and str(found.get("title", "")).startswith("resnet-spec")  # pyright: ignore
