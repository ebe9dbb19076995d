"""Shared by the commands: options, exit statuses, progress, and output: results on stdout, all else on stderr."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
from codecs import lookup
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import cache, wraps
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from resnet_spec import __version__
from resnet_spec.cli import INTERRUPTED, completion
from resnet_spec.cli.streams import Stream, safe_streams
from resnet_spec.errors import ResnetSpecError

if TYPE_CHECKING:
    from rich.console import Console

    from resnet_spec.describing.networks import Network

CANNOT_RUN = 3
LINE = 80
"""The width of texts that are wrapped."""

WIDE = 1000
"""The width of tables that are piped."""

SPEC = click.argument("spec", shell_complete=completion.specs)
SPECS = click.argument("specs", nargs=-1, metavar="SPEC...", shell_complete=completion.specs)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", shell_complete=completion.keys,
    help="Override a value, such as stages.layer4.stride=1.",
)  # fmt: skip
SEED = click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of everything random.")


def backend_option(text: str, *, required: bool = False) -> Callable[..., Any]:
    """Return ``--backend``, which a shell completes."""
    return click.option("--backend", required=required, metavar="NAME", shell_complete=completion.backends, help=text)


def weights_option(text: str) -> Callable[..., Any]:
    """Return ``--weights``, a file or published weights, which a shell completes."""
    return click.option("--weights", metavar="PATH|NAME", shell_complete=completion.weights, help=text)


BACKENDS = click.option(
    "--backends", default="torch,tensorflow", show_default=True, shell_complete=completion.backends,
    help="The first is the reference.",
)  # fmt: skip
CHANGED_SINCE = click.option(
    "--changed-since",
    "revision",
    metavar="REV",
    help="Only specs affected by changes since a git revision: below this folder, or among SPEC or folders of them.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_READING = (
    click.option(
        "--adapt", multiple=True, metavar="WHAT",
        help="Adapt weights of another network: classes (reinitialize the head), background (1001 to 1000 classes), "
        "channels (of the input), backbone (leave out layers that the network lacks), half (half precision). May be "
        "repeated.",
    ),
    click.option(
        "--take", default="", metavar="PATH",
        help="The part of the file below which the weights are, such as encoder_q, where several fit; . for its top.",
    ),
    click.option("--ema", is_flag=True, help="Use the exponential moving averages of a training checkpoint."),
    click.option(
        "--strict-graph", is_flag=True,
        help="Refuse a file that states a network which computes something else from the same parameters.",
    ),
    click.option("--check-finite", is_flag=True, help="Raise an error for weights that are not all finite."),
)  # fmt: skip


def version_option(program: str) -> Callable[..., Any]:
    """Return the option that prints the versions of a program and of each backend's libraries."""

    def print_versions(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            from resnet_spec.backend.registry import versions

            click.echo(f"{program}, version {__version__}")
            for backend, libraries in versions().items():
                click.echo(f"{backend}: {', '.join(f'{name} {version}' for name, version in libraries.items())}")
            context.exit()

    return click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_versions,
        help="Show the version and those of the backends, and exit.",
    )  # fmt: skip


def READING(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - an option like those above
    """Add the options of ``read_weights`` to a command, which receives them as ``reading``."""

    @wraps(command)
    def gathered(**options: Any) -> Any:
        reading = {name: options.pop(name) for name in ("adapt", "take", "ema", "strict_graph", "check_finite")}
        return command(reading=reading, **options)

    for option in reversed(_READING):
        gathered = option(gathered)
    return gathered


def changed_specs(revision: str, where: tuple[str, ...]) -> list[str]:
    """Return the specs that ``CHANGED_SINCE`` selects; print a message if there are none."""
    from resnet_spec.spec.git_changes import changed_since

    names = list(map(str, changed_since(revision, where)))
    if not names:
        click.echo(f"no spec has changed since {revision}", err=True)
    return names


def run(command: click.Command) -> None:
    """Run a command and exit: 0 done, 1 a difference was found, 2 the input is wrong, 3 a step could not run.

    A closed pipe on stdout does not change the status.
    """
    if completion.is_asked_for():
        # For a shell, click writes bytes, and exits.
        command.main()
    # Clean up as on Ctrl-C on what schedulers send, and a terminal that is closed; unless it is to be ignored (nohup).
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    with safe_streams() as out:
        status = _status(command)
        out.flush()
        if out.failure:
            click.echo(f"the output cannot be written: {out.failure}", err=True)
            status = CANNOT_RUN
    sys.exit(status if isinstance(status, int) else 0)


def _status(command: click.Command) -> object:
    try:
        return command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ResnetSpecError as error:
        click.echo(as_options(str(error), command), err=True)
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except MemoryError:
        click.echo("out of memory", err=True)
        return CANNOT_RUN


def console() -> Console:
    """Return a console for tables on stdout, at full width when it is piped."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def print_json(data: Any) -> None:
    """Print data as JSON without NaN and infinity, with escapes if stdout is not UTF-8."""
    from resnet_spec.document.json_output import to_json

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(to_json(data, ascii_only=lookup(encoding).name != "utf-8"))


@contextmanager
def progress() -> Generator[Callable[[str], None]]:
    """Show progress on stderr: a spinner in a terminal, elsewhere a line every two seconds."""
    from rich.console import Console

    with _own_stderr() as stream:
        screen = Console(file=stream)
        if screen.is_terminal:
            with screen.status("") as status:
                yield lambda step: status.update(step)
            return
        last = time.monotonic()

        def tell(step: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 2:
                last = now
                click.echo(f"{step} …", file=stream)

        yield tell


_ARGUMENT = re.compile(r'\b([a-z_]+)=(?:"([^"\n]*)"|True)')

_OVERRIDE = re.compile(r"^override (?=.*:1:1: )", re.MULTILINE)


def as_options(text: str, command: click.Command | None = None) -> str:
    """Return a message that names options where it names arguments: ``--adapt half`` for ``adapt="half"``.

    The options are those of ``command``, or of each in a group; by default of the program that runs.
    """
    context = click.get_current_context(silent=True)
    program = command or (context.find_root().command if context else None)
    known = _options(program) if program else {}

    def option(found: re.Match[str]) -> str:
        name = known.get(found[1])
        return found[0] if name is None else name if found[2] is None else f"{name} {found[2]}"

    return _OVERRIDE.sub("--set ", _ARGUMENT.sub(option, text))


@cache
def _options(command: click.Command) -> dict[str, str]:
    """The options of a command, or of each in a group, by the arguments that they are."""
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    options = (option for each in commands for option in each.params if isinstance(option, click.Option))
    return {str(option.name): max(option.opts, key=len) for option in options}


class _Formatter(logging.Formatter):
    """The text of a log record, with options."""

    def format(self, record: logging.LogRecord) -> str:
        return as_options(super().format(record))


@contextmanager
def tell_remarks() -> Generator[None]:
    """Print the package's log messages on stderr."""
    logger = logging.getLogger("resnet_spec")
    level, propagates = logger.level, logger.propagate
    with _own_stderr() as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates


@contextmanager
def _own_stderr() -> Generator[TextIO]:
    """Yield the current standard error, which still works while frameworks are muted."""
    _flush()
    with os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace") as stream:
        safe = cast("TextIO", Stream(stream))
        yield safe
        safe.flush()


@contextmanager
def quiet_stdout() -> Generator[None]:
    """Send what frameworks print to stderr, down to the file descriptor; stdout is for results."""
    with _redirected(1, 2):
        yield


@contextmanager
def muted_stderr() -> Generator[None]:
    """Discard stderr: TensorFlow's C++ prints on import, and no setting disables it."""
    with open(os.devnull, "w", encoding="utf-8") as sink, _redirected(2, sink.fileno()):
        yield


@contextmanager
def _redirected(descriptor: int, target: int) -> Generator[None]:
    """Redirect one file descriptor to another; Python's buffers are flushed before and after."""
    _flush()
    kept = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def shape_argument(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes that ``--input`` states, channels first; None if it is not given."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,7}(x\d{1,7})*", text):
        raise click.UsageError(f"--input is sizes joined by x, channels first, such as 3x224x224, not {text!r}")
    return tuple(map(int, text.split("x")))


def check_input_used(shape: str | None, *networks: Network) -> None:
    """Report an ``--input`` that would be ignored: every network states its own."""
    if shape is not None and all(network.is_spec for network in networks):
        raise click.UsageError("--input is for models; override a spec's input instead: --set input.height=64")


def table_lines(rows: Iterable[tuple[str, str]], width: int = LINE) -> list[str]:
    """Return labels and texts in two columns, wrapped to a width; a label that is repeated is shown once."""
    # Names in a file may have the escape codes of terminals.
    rows = [
        (label, "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)) for label, text in rows
    ]
    indent = min(max((len(label) for label, _ in rows), default=0), width // 3) + 2
    lines: list[str] = []
    shown = ""
    for label, text in rows:
        head = "" if label == shown else label
        shown = label
        if len(head) + 2 > indent:
            lines.append(head)
            head = ""
        lines += wrap(text, width, initial_indent=f"{head:{indent}}", subsequent_indent=" " * indent,
                      break_on_hyphens=False)  # fmt: skip
    return lines


def count(number: int) -> str:
    """Return a number in short: ``4.09 G``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return str(number)


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as a summary shows it: ``[64, 112, 112]``."""
    return f"[{', '.join(map(str, shape))}]"
