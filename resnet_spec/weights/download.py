"""Downloads published weights into a cache, in which a file gets its name only after it is complete and verified.

A download is a ``.part`` beside that name, with a note of what the server states about the file, so that the next
attempt resumes where it stopped. A lock lets one process write; others wait for it, and then find the file.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from resnet_spec import hub
from resnet_spec.errors import DownloadError
from resnet_spec.errors.extras import needs
from resnet_spec.spec.published import MIB, Published
from resnet_spec.weights.cache import (
    LOCK,
    PART,
    PART_NOTE,
    cached_path,
    digest_of,
    remember,
    url_parts,
    verification_problem,
)
from resnet_spec.weights.published_lookup import find, is_path
from resnet_spec.weights.reading import find_weights_file

if TYPE_CHECKING:
    from requests import RequestException, Response, Session
    from rich.console import Console

    from resnet_spec.spec.spec import Spec

    Show: TypeAlias = Callable[[int, int | None], None]
    """Shows how many of the bytes have arrived."""

MIRROR, OFFLINE = "RESNET_SPEC_MIRROR", "RESNET_SPEC_OFFLINE"
"""Environment variables: a base URL that is asked instead of the publisher's; whether to ask no server at all."""

TIMEOUTS = (20.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further attempt."""

CHUNK = 1 << 16

log = logging.getLogger(__name__)


def resolve(spec: Spec, weights: str | Path, *, progress: bool = True) -> Path:
    """The file that ``weights`` means: a path as it is; published weights by name (see ``published.find``), or an
    address of the Hub, fetched.

    Raises WeightsError for an unknown name or a missing file, DownloadError as ``fetch`` does.
    """
    if isinstance(weights, str) and hub.is_address(weights):
        return hub.fetch(weights, hub.WEIGHTS)
    if isinstance(weights, Path) or is_path(spec, weights):
        find_weights_file(Path(weights))
        return Path(weights)
    return fetch(find(spec, weights), progress=progress)


def fetch(published: Published, *, progress: bool = True) -> Path:
    """The file of published weights, from the cache or downloaded into it.

    What is in the cache is used without asking a server, unless its size or hash is not the one that the spec states,
    or its content has changed since it was fetched; then it is fetched again. A download continues where an earlier one
    stopped. It is verified by the hash that the spec states, or else by the SHA-256 that the server states as Hugging
    Face does, or else by its length only, which a warning reports. ``progress`` shows a bar on stderr, or one line
    if that is not a terminal.

    Raises DownloadError; what has arrived by then is kept, unless it is wrong or the disk is full.
    """
    target = cached_path(published.url)
    try:
        if problem := _problem(published, target):
            _download(published, target, problem, progress=progress)
    except OSError as error:
        raise DownloadError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def _problem(published: Published, target: Path) -> str | None:
    """Why the cached file cannot be used, as the end of a sentence."""
    return verification_problem(target, published) if target.is_file() else "does not exist"


def _download(published: Published, target: Path, problem: str, *, progress: bool) -> None:
    source = _source(published.url)
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise DownloadError(f"{source}: not downloaded, since {OFFLINE} is set and {target} {problem}")
    if target.is_file():
        log.warning("%s: %s; it is downloaded again", target, problem)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target, progress=progress):
        # The process that held the lock before may have brought the file.
        if _problem(published, target):
            _Download(published, source, target).run(progress=progress)


def _source(url: str) -> str:
    """The address to request: the mirror's if there is one."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return url
    if not re.match(r"https?://[^/]", mirror):
        raise DownloadError(f"{MIRROR} is {mirror!r}, not an address that starts with https:// or http://")
    return f"{mirror.rstrip('/')}/{'/'.join(url_parts(url))}"


@contextmanager
def _lock(target: Path, *, progress: bool) -> Generator[None]:
    """Let one process at a time download a file; the lock is deleted afterwards."""
    with needs("download", "a download"):
        from filelock import FileLock, Timeout

    path = target.with_name(target.name + LOCK)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if progress:
            _console().print(f"waiting for another process that downloads {target.name}", highlight=False)
        lock.acquire()
    try:
        yield
    finally:
        # While it is held: a process that gets a lock whose file is gone makes a new one. Windows deletes it itself.
        with suppress(OSError):
            path.unlink()
        lock.release()


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def _progress_bar(source: str, target: Path, *, progress: bool) -> Generator[Show]:
    """A bar in a terminal, else one line or nothing."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = _console()
    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        disable=not (progress and console.is_terminal),
    )
    if progress and bar.disable:
        console.print(f"downloading {source} to {target}", highlight=False, markup=False, soft_wrap=True)
    with bar:
        task = bar.add_task(target.name, total=None)
        yield lambda have, size: bar.update(task, completed=have, total=size)


# -- one download ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerMetadata:
    """What a server states about a file: its size in bytes, its SHA-256, and the validator for asking for the rest."""

    size: int | None = None
    sha256: str | None = None
    validator: str | None = None


class _RetryableError(Exception):
    """An attempt failed, and another one may succeed."""


class _Download:
    """One file on its way from a server to its name in the cache."""

    def __init__(self, published: Published, source: str, target: Path) -> None:
        self.published = published
        self.source = source
        self.target = target
        self.part = target.with_name(target.name + PART)
        self.note = target.with_name(target.name + PART_NOTE)
        self.answered = False

    def run(self, *, progress: bool) -> None:
        """Download, verify and rename."""
        try:
            with _progress_bar(self.source, self.target, progress=progress) as show:
                metadata = self._fetch(show)
            found = self._verify(metadata)
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            self.part.replace(self.target)
            self._discard()
            remember(self.target, found)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._discard()
            raise DownloadError(f"{self.part}: the disk is full; what had arrived was deleted") from None

    def _fetch(self, show: Show) -> ServerMetadata:
        """Fetch the whole file, in several attempts if need be, and return what the server states about it."""
        with needs("download", "a download"):
            from requests import RequestException, Session

        reason = ""
        for pause in (0.0, *PAUSES):
            if reason:
                log.info("%s: %s; trying again in %g s", self.source, reason, pause)
                time.sleep(pause)
            try:
                with Session() as session:
                    return self._attempt(session, show)
            except _RetryableError as error:
                reason = str(error)
            except RequestException as error:
                if not _is_transient(error, self.answered):
                    raise self._failed(_reason(error)) from None
                reason = _reason(error)
        raise self._failed(reason)

    def _attempt(self, session: Session, show: Show) -> ServerMetadata:
        from resnet_spec import __version__

        have, known = self._kept()
        if have and have == known.size:
            return known
        headers = {"Accept-Encoding": "identity", "User-Agent": f"resnet-spec/{__version__}"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": known.validator or ""}
        with session.get(self.source, headers=headers, stream=True, timeout=TIMEOUTS) as response:
            self.answered = True
            self._check_answer(response)
            metadata = _metadata(response)
            if response.status_code == OK:
                have = 0
            elif _range_start(response) != have or (metadata.size, metadata.validator) != (known.size, known.validator):
                # The end of one file must not follow the start of another, whatever If-Range is to a server.
                self._discard()
                raise _RetryableError("the file has changed on the server")
            self._check_size(metadata, have)
            return self._write(response, metadata, have, show)

    def _write(self, response: Response, metadata: ServerMetadata, have: int, show: Show) -> ServerMetadata:
        if not have:
            # Before the note changes, or an older file's start could be completed with this one's end.
            self._discard()
        self.note.write_text(json.dumps(asdict(metadata)), "utf-8")
        with self.part.open("ab") as file:
            show(have, metadata.size)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                have += len(chunk)
                show(have, metadata.size)
                if metadata.size is not None and have > metadata.size:
                    self._discard()
                    raise self._failed(f"the server sends more than the {metadata.size:,} bytes that it states")
        if metadata.size is not None and have < metadata.size:
            raise _RetryableError("the connection was cut")
        return metadata

    def _kept(self) -> tuple[int, ServerMetadata]:
        """How many bytes an earlier attempt left that can be resumed from, and what the server stated then."""
        try:
            metadata = ServerMetadata(**json.loads(self.note.read_text("utf-8")))
            return (self.part.stat().st_size if metadata.validator else 0), metadata
        except (OSError, ValueError, TypeError):
            return 0, ServerMetadata()

    def _check_answer(self, response: Response) -> None:
        steps = (*response.history, response)
        if self.source.startswith("https:") and not all(step.url.startswith("https:") for step in steps):
            raise self._failed("redirects to an address that is not encrypted")
        status = f"the server answers {response.status_code} {response.reason}".strip()
        if response.status_code == RANGE_NOT_SATISFIABLE:
            self._discard()
        if response.status_code in (TIMED_OUT, RANGE_NOT_SATISFIABLE, TOO_MANY) or response.status_code >= 500:
            raise _RetryableError(status)
        if response.status_code not in (OK, PARTIAL):
            raise self._failed(status + (f" ({MIRROR} is set)" if self.source != self.published.url else ""))
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._failed(f"is encoded as {response.headers['Content-Encoding']}, which was not requested")

    def _check_size(self, metadata: ServerMetadata, have: int) -> None:
        """Reject a file of the wrong size, or one that cannot be verified or stored, before it is downloaded."""
        if metadata.size is None:
            if self.published.hash is None and metadata.sha256 is None:
                raise self._failed("neither the spec nor the server states a hash or even a length to verify it by")
            return
        if not self.published.matches_size(metadata.size):
            raise self._failed(f"has {metadata.size:,} bytes on the server, but the spec states {self.published.size}")
        free = shutil.disk_usage(self.target.parent).free
        if metadata.size - have > free:
            raise self._failed(
                f"{_mib(metadata.size - have)} remain to be downloaded, but {self.target.parent} has {_mib(free)} free"
            )

    def _verify(self, metadata: ServerMetadata) -> str:
        """Compare what has arrived with its hash, and return that; what is wrong is deleted."""
        size = self.part.stat().st_size
        if not self.published.matches_size(size):
            self._discard()
            raise self._failed(f"has {size:,} bytes, but the spec states {self.published.size}; it was deleted")
        wanted = self.published.hash or (metadata.sha256 and f"sha256:{metadata.sha256}")
        if not wanted:
            log.warning("%s: no hash was published: only its length was checked", self.source)
        kind, _, digits = (wanted or "sha256:").partition(":")
        found = digest_of(self.part, kind)
        if not found.startswith(digits):
            self._discard()
            raise self._failed(
                f"is not the file that was published: its {kind} is {found}, not {digits}; it was deleted"
            )
        return f"{kind}:{found}"

    def _discard(self) -> None:
        for path in (self.part, self.note):
            path.unlink(missing_ok=True)

    def _failed(self, reason: str) -> DownloadError:
        have, metadata = self._kept()
        of = f" of {_mib(metadata.size)}" if metadata.size else ""
        kept = f"; {_mib(have)}{of} were kept; the next attempt resumes from there" if have else ""
        return DownloadError(f"{self.source}: {reason}{kept}")


OK, PARTIAL, TIMED_OUT, RANGE_NOT_SATISFIABLE, TOO_MANY = 200, 206, 408, 416, 429


def _metadata(response: Response) -> ServerMetadata:
    """What a response, and the redirects that led to it, state about the whole file."""
    headers = response.headers
    # Hugging Face states it in the response that redirects to its store of files.
    linked = {name: value for step in (*response.history, response) for name, value in step.headers.lower_items()}
    sha256 = re.fullmatch(r'"?([0-9a-f]{64})"?', linked.get("x-linked-etag", ""))
    if response.status_code == OK:
        size = headers.get("Content-Length") or linked.get("x-linked-size")
    else:
        size = headers.get("Content-Range", "").rpartition("/")[2]
    tag = headers.get("ETag", "W/")
    return ServerMetadata(
        size=int(size) if size and size.isdecimal() else None,
        sha256=sha256[1] if sha256 else None,
        # A weak tag does not say that the bytes are the same.
        validator=headers.get("Last-Modified") if tag.startswith("W/") else tag,
    )


def _range_start(response: Response) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB"


def _is_transient(error: RequestException, answered: bool) -> bool:
    """Whether another attempt may succeed: the connection failed, and the server has answered before."""
    from requests import exceptions
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, exceptions.Timeout) or isinstance(_root_cause(error), NewConnectionError):
        return answered
    passing = exceptions.ChunkedEncodingError | exceptions.ConnectionError
    return isinstance(error, passing) and not isinstance(error, exceptions.SSLError)


def _reason(error: RequestException) -> str:
    """A short description of an error."""
    from requests import exceptions

    cause = str(_root_cause(error))
    if isinstance(error, exceptions.ConnectTimeout):
        return f"the server cannot be reached within {TIMEOUTS[0]:g} s"
    if isinstance(error, exceptions.Timeout) or "timed out" in cause:
        return f"the server has sent nothing for {TIMEOUTS[1]:g} s"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return cause.rpartition(": ")[2]


def _root_cause(error: BaseException) -> BaseException:
    """The innermost error: those of requests and urllib3 contain one another."""
    contents = (getattr(error, "reason", None), *error.args)
    inner = next((inner for inner in contents if isinstance(inner, BaseException)), None)
    return error if inner is None else _root_cause(inner)
