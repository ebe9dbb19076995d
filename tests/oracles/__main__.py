"""``python -m tests.oracles``: compare networks with their originals in parallel, continuing where the last run ended.

A network is done when its record was made for the spec as it is; ``--again`` repeats it. Names or patterns
(``timm/*``) choose some. Ends with status 1 where a network differs.
"""

from __future__ import annotations

import os
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from fnmatch import fnmatchcase

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import resnet_spec
from resnet_spec import summarize

from .verification import BOTH, THINNER, Backends, Record, is_current, verify


@click.command()
@click.argument("patterns", nargs=-1)
@click.option("--again", is_flag=True, help="Compare networks again that have a current record.")
@click.option("--jobs", default=max(1, (os.cpu_count() or 2) // 2), show_default=True, help="Networks at a time.")
def main(patterns: tuple[str, ...], again: bool, jobs: int) -> None:
    """Compare the shipped networks with their originals."""
    console = Console(stderr=True)
    names = [name for name in resnet_spec.available() if not patterns or any(fnmatchcase(name, p) for p in patterns)]
    open_names = [name for name in names if again or not is_current(name)]
    console.print(f"{len(names)} networks, {len(names) - len(open_names)} done before")
    # The cheap ones first, to fail early.
    open_names.sort(key=lambda name: summarize(resnet_spec.load(name).to_graph()).macs)
    failed = _run(open_names, jobs, console)
    for name in failed:
        console.print(f"[red]failed[/] {name}")
    raise SystemExit(1 if failed else 0)


def _run(names: list[str], jobs: int, console: Console) -> list[str]:
    failed: list[str] = []
    workers = _Workers()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ThreadPoolExecutor(jobs)
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("networks", total=len(names))
            futures: dict[Future[Record], str] = {pool.submit(workers.verify, name): name for name in names}
            for future in as_completed(futures):
                name = futures[future]
                try:
                    console.print(_line(future.result()))
                except Exception as error:
                    failed.append(name)
                    console.print(f"[red]{name}[/]: {_reason(error)}", highlight=False)
                progress.advance(task)
    finally:
        # What is running dies with its backends; what is done has its record.
        pool.shutdown(wait=False, cancel_futures=True)
        workers.end()
    return failed


class _Workers:
    """A pair of backends for each thread."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._all: list[Backends] = []

    def verify(self, name: str) -> Record:
        if not hasattr(self._local, "backends"):
            self._local.backends = Backends()
            self._all.append(self._local.backends)
        try:
            record = verify(name, self._local.backends, THINNER.get(name, ()))
        except Exception:
            # After any failure, the next network starts with fresh backends.
            self._local.backends.__exit__()
            raise
        record.write()
        return record

    def end(self) -> None:
        for backends in self._all:
            backends.__exit__()


def _line(record: Record) -> str:
    worst = {dtype: max(found[dtype] for found in record.errors.values()) for dtype in record.errors[BOTH]}
    told = ", ".join(f"{dtype} {error:.1e}" for dtype, error in worst.items())
    return f"{record.spec}: {told} ({' '.join(record.sizes)})"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else "".join(traceback.format_exception(error))


if __name__ == "__main__":
    main()
