"""``resnet-spec push``: a spec and its weights to a repository of the Hugging Face Hub."""

from __future__ import annotations

from typing import Any

import click

from resnet_spec.cli.common import (
    BACKENDS,
    READING,
    SET,
    SPEC,
    muted_stderr,
    progress,
    quiet_stdout,
    tell_remarks,
    weights_option,
)


@click.command()
@SPEC
@click.argument("repository", metavar="OWNER/NAME[@BRANCH]")
@weights_option("The weights to push.")
@SET
@READING
@click.option("--license", metavar="ID", help="The license of the weights, such as apache-2.0, if none is known.")
@click.option("--private", is_flag=True, help="Make a repository that is created private.")
@click.option("--message", default="", metavar="TEXT", help="The message of the commit.")
@BACKENDS
@click.option("--size", metavar="N|HxW", help="The size of the images for which the backends are compared.")
def push(
    spec: str,
    repository: str,
    weights: str | None,
    overrides: tuple[str, ...],
    reading: dict[str, Any],
    license: str | None,
    private: bool,
    message: str,
    backends: str,
    size: str | None,
) -> None:
    """Push a spec and its weights to the Hugging Face Hub, with a drawing and a card.

    The backends are compared under these weights before, and nothing is pushed if they differ. hf://OWNER/NAME then
    names the spec, and the weights. Log in with `hf auth login`, or set HF_TOKEN.
    """
    from resnet_spec.cli.parity import extent_for, parse_extent
    from resnet_spec.pushing import push as push_network

    if weights is None:
        raise click.UsageError("--weights names what to push: a file, or published weights")
    with quiet_stdout(), tell_remarks(), progress() as tell, muted_stderr():
        address = push_network(
            spec,
            repository,
            weights,
            overrides=overrides,
            license=license,
            private=private,
            message=message,
            backends=backends.split(","),
            size=extent_for(spec, overrides, parse_extent(size)),
            progress=tell,
            **reading,
        )
    click.echo(address)
