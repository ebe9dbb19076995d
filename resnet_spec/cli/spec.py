"""``resnet-spec``: show and validate specs, and compare backends."""

from __future__ import annotations

import click

from resnet_spec.cli.bench import bench
from resnet_spec.cli.common import run, version_option
from resnet_spec.cli.completion import completion
from resnet_spec.cli.diff import diff
from resnet_spec.cli.draw import draw
from resnet_spec.cli.evaluate import evaluate
from resnet_spec.cli.identify import identify
from resnet_spec.cli.importing import import_command
from resnet_spec.cli.parity import parity, record
from resnet_spec.cli.predict import predict
from resnet_spec.cli.preview import preview
from resnet_spec.cli.push import push
from resnet_spec.cli.quantize import quantize
from resnet_spec.cli.schema import schema
from resnet_spec.cli.showing import blocks, list_specs, show, summary
from resnet_spec.cli.validate import validate
from resnet_spec.cli.weights import convert


class _Commands(click.Group):
    """A group whose help has the first sentence of each command, whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, item.get_short_help_str(500)) for name, item in sorted(self.commands.items())])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@version_option("resnet-spec")
def command() -> None:
    """ResNets as data: list, show, validate and summarize specs, and prove that two backends agree on them.

    A SPEC is a shipped name, such as resnet50 or keras/resnet50, a path that ends in .yaml or .yml, - for standard
    input, or hf://OWNER/NAME in the Hugging Face Hub.
    """


for _command in (
    bench, blocks, completion, convert, diff, draw, evaluate, identify, import_command, list_specs, parity, predict,
    preview, push, quantize, record, schema, show, summary, validate,
):  # fmt: skip
    command.add_command(_command)


def main() -> None:
    """The entry point of ``resnet-spec``."""
    run(command)
