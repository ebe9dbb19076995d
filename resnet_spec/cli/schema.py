"""``resnet-spec schema``: the JSON Schema of the language, printed or installed for an editor."""

from __future__ import annotations

from pathlib import Path

import click

from resnet_spec.cli.common import print_json


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--block", is_flag=True, help="Print the schema of a file of a block.")
@click.option(
    "--install",
    is_flag=True,
    help="Write the schema beside each FILE, and name it in the first line; without a FILE, write the schemas of the "
    "specs and blocks in this folder to .vscode, and name them in .vscode/settings.json.",
)
def schema(files: tuple[Path, ...], block: bool, install: bool) -> None:
    """Print the JSON Schema of the language, which editors use to complete and check specs, or install it."""
    from resnet_spec.cli.editor import SETTINGS, install_modeline, install_settings
    from resnet_spec.spec.json_schema import block_schema, spec_schema

    if (files and not install) or (install and block):
        raise click.UsageError("a FILE needs --install, which --block cannot be combined with")
    if not install:
        print_json(block_schema() if block else spec_schema())
    for file in files:
        click.echo(f"{file}: checked by {install_modeline(file).name}")
    if install and not files:
        for name, patterns in install_settings(Path()).items():
            click.echo(f"{SETTINGS.as_posix()}: {name} checks {', '.join(patterns)}")
