"""``resnet-spec validate``: check specs and blocks, and report every problem at its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnet_spec.cli.common import CHANGED_SINCE, SET, SPECS, as_options, backend_option, changed_specs
from resnet_spec.errors import one_line

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import Backend
    from resnet_spec.errors import Problem, ResnetSpecError


@click.command()
@SPECS
@click.option("--all", "every", is_flag=True, help="Check every shipped spec.")
@CHANGED_SINCE
@click.option("--dependents", is_flag=True, help="Also check the specs below this folder that use the named files.")
@backend_option("Also report layers that a backend, such as tensorflow, cannot express.")
@SET
def validate(
    specs: tuple[str, ...],
    every: bool,
    revision: str | None,
    dependents: bool,
    backend: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Check specs and the graphs they lower to; every problem is reported with its file, line and column.

    A block's own file is checked as strictly as a spec that uses it, except for the sizes of its input.
    """
    from resnet_spec.backend.registry import get_backend, prepare_process
    from resnet_spec.errors import ResnetSpecError
    from resnet_spec.spec.catalog import available

    if revision is not None and (every or dependents):
        raise click.UsageError("--changed-since cannot be combined with --all or --dependents")
    names = changed_specs(revision, specs) if revision is not None else [*specs, *(available() if every else ())]
    if not names and revision is None:
        raise click.UsageError("name a spec, or --all")
    if dependents:
        from resnet_spec.spec.git_changes import affected_by

        names = list(dict.fromkeys([*names, *map(str, affected_by(map(Path, specs)))]))
    if backend is not None:
        prepare_process(backend)
    compiler = get_backend(backend) if backend is not None else None
    failed = False
    reported: dict[Problem, str] = {}
    for name in names:
        try:
            verdict = _checked(name, overrides, compiler)
        except ResnetSpecError as error:
            failed = True
            _report(error, name, reported)
        else:
            click.echo(one_line(f"{name}: {verdict}"))
    if failed:
        click.get_current_context().exit(2)


def _report(error: ResnetSpecError, name: str, reported: dict[Problem, str]) -> None:
    """Print an error; mistakes in a file that several specs use only for the first of these."""
    fresh = [problem for problem in error.problems if problem not in reported]
    if fresh or not error.problems:
        shown = type(error)(fresh) if len(fresh) < len(error.problems) else error
        click.echo(as_options(str(shown)), err=True)
    if again := len(error.problems) - len(fresh):
        first = next(reported[problem] for problem in error.problems if problem in reported)
        what = f"{again} {'more ' * bool(fresh)}problem{'s' * (again > 1)}"
        click.echo(f"{name}: {what}, reported above for {first}", err=True)
    # Without a position, a problem is this spec's own.
    reported |= {problem: name for problem in fresh if problem.position is not None}


def _checked(name: str, overrides: tuple[str, ...], compiler: Backend | None) -> str:
    """Return the verdict on a valid spec or block file; raises ResnetSpecError for others."""
    from resnet_spec.backend.support import unsupported
    from resnet_spec.errors import SpecError
    from resnet_spec.spec.catalog import ENDINGS
    from resnet_spec.spec.dependencies import check_kind, kind
    from resnet_spec.spec.loader import check_block, load

    if name.endswith(ENDINGS) or name == "-":
        check_kind(Path(name))
        if kind(Path(name)) == "block":
            check_block(Path(name))
            return "valid block"
    graph = load(name, overrides).to_graph()
    if compiler is None:
        return "valid"
    if problems := unsupported(graph, compiler):
        raise SpecError(problem._replace(path=f"{name}: {problem.path}") for problem in problems)
    return f"valid, also in {compiler.name}"
