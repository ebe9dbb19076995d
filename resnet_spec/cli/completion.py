"""What a shell completes: specs, blocks, keys of overrides, backends and published weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

if TYPE_CHECKING:
    from resnet_spec.spec.spec import Spec

PROGRAMS = ("resnet-spec", "resnet-build")
SHELLS = ("bash", "fish", "zsh")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete both commands.

    \b
    bash:  eval "$(resnet-spec completion bash)"   in ~/.bashrc
    zsh:   eval "$(resnet-spec completion zsh)"    in ~/.zshrc
    fish:  resnet-spec completion fish > ~/.config/fish/completions/resnet-spec.fish
    """
    completing = get_completion_class(shell) or ShellComplete
    for program in PROGRAMS:
        variable = _variable(program)
        # The shell's version, which click's source() would look up, is that of another shell than the user's.
        made = completing(click.Command(program), {}, program, variable)
        click.echo(made.source_template % made.source_vars())


def is_asked_for() -> bool:
    """Whether a shell asks for completions."""
    return any(_variable(program) in os.environ for program in PROGRAMS)


def _variable(program: str) -> str:
    """Return the variable that says what a shell wants."""
    return f"_{program.upper().replace('-', '_')}_COMPLETE"


def specs(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Shipped specs, by their full names and by those that need no family, and files."""
    from resnet_spec.spec.catalog import Catalog

    names = Catalog.shipped().names()
    bare = [name.rpartition("/")[2] for name in names if start and "/" not in start]
    return [*_starting(start, [*dict.fromkeys([*bare, *names])]), CompletionItem(start, type="file")]


def specs_and_blocks(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The same, and shipped blocks."""
    return [*specs(context, parameter, start), *blocks(context, parameter, start)]


def blocks(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Shipped blocks."""
    from resnet_spec.spec.catalog import Catalog

    return _starting(start, Catalog.shipped().blocks())


def families(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The families of shipped specs."""
    from resnet_spec.spec.catalog import Catalog

    return _starting(start, dict.fromkeys(name.partition("/")[0] for name in Catalog.shipped().names()))


def backends(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Installed backends, also after a comma."""
    from resnet_spec.backend.registry import backend_names

    before, comma, last = start.rpartition(",")
    return [CompletionItem(before + comma + name) for name in backend_names() if name.startswith(last)]


def keys(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The dotted keys of the values of the spec that stands before on the line."""
    return [CompletionItem(key) for spec in _spec(context) for key in _keys(spec.data()) if key.startswith(start)]


def parts(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The stages and blocks of the spec that stands before on the line, and all of them."""
    from resnet_spec.errors import ResnetSpecError

    names = ["all"]
    with suppress(ResnetSpecError):
        names += [scope.name for spec in _spec(context) for scope in spec.to_graph().scopes]
    return _starting(start, names)


def weights(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Published weights of the spec that stands before on the line, and files."""
    names = [name for spec in _spec(context) for name in spec.weights]
    return [*_starting(start, names), CompletionItem(start, type="file")]


def _starting(start: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(start)]


def _spec(context: click.Context) -> Iterator[Spec]:
    """Yield the spec that a line names; nothing if it names none, or a wrong one."""
    from resnet_spec.errors import ResnetSpecError
    from resnet_spec.spec.loader import load

    # Where a line ends with an option that lacks its value, click leaves the arguments before it unparsed.
    several = context.params.get("specs") or context.args
    given = context.params.get("spec") or next(iter(several), None)
    with suppress(ResnetSpecError):
        if given is not None:
            yield load(given)


def _keys(data: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _keys(cast("dict[str, Any]", value), f"{above}{key}.")
        else:
            yield f"{above}{key}="
