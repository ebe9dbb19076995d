"""Downloads from a server on loopback that cuts, lies, stalls and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import DownloadError, WeightsError, initialize, load, read_weights, write_weights
from resnet_spec.spec.published import Published
from resnet_spec.weights import cache as caching
from resnet_spec.weights import download as downloads
from resnet_spec.weights.cache import cached_path
from resnet_spec.weights.download import fetch, resolve
from tests.needs import SIGKILL, posix

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()
NAME = "folder/weights.safetensors"
PAUSES = downloads.PAUSES
HANG_UP = 0
"""In place of a status: the connection is closed without a word."""


@dataclass
class File:
    """What a server has under a path, and how it behaves; a list holds one behavior a request, then none."""

    body: bytes = BODY
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    honest: bool = True
    """Whether If-Range counts."""
    cuts: list[int | None] = field(default_factory=list[int | None])
    """How many bytes are sent before the connection is closed."""
    statuses: list[int] = field(default_factory=list[int])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    length: int | None = -1
    """What is said of the length; None is chunked."""
    location: str | None = None
    stall: threading.Event | None = None
    """What is waited for in the middle of the body."""


class Server(ThreadingHTTPServer):
    """Files on loopback, and what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, File] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def has(self, path: str = NAME, **behavior: Any) -> File:
        self.files[f"/{path}"] = File(**behavior)
        return self.files[f"/{path}"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        file = self.server.files.get(self.path)
        status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
        if status == HANG_UP:
            return
        if file is None or status != 200:
            self.send_response(status)
            self._say({"Content-Length": "0"})
        elif file.location is not None:
            self.send_response(302)
            self._say({"Location": file.location, "Content-Length": "0", **file.headers})
        else:
            self._send(file)

    def _send(self, file: File) -> None:
        start = self._start(file)
        body = file.body[start:]
        self.send_response(206 if start else 200)
        said = {"ETag": file.etag, "Last-Modified": file.modified, **file.headers}
        if start:
            said["Content-Range"] = f"bytes {start}-{len(file.body) - 1}/{len(file.body)}"
        said["Transfer-Encoding" if file.length is None else "Content-Length"] = (
            "chunked" if file.length is None else str(len(body) if file.length < 0 else file.length)
        )
        self._say({key: value for key, value in said.items() if value is not None})
        cut = file.cuts.pop(0) if file.cuts else None
        chunked = file.length is None
        for place in range(0, len(body), 1000):
            piece = body[place : place + 1000] if cut is None else body[place : min(place + 1000, cut)]
            if not piece:
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            self.server.sent += len(piece)
            if file.stall is not None and place >= len(body) // 2:
                self.wfile.flush()
                file.stall.wait(30)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _start(self, file: File) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not found or not file.ranges:
            return 0
        same = self.headers.get("If-Range") in (None, file.etag, file.modified)
        return int(found[1]) if same or not file.honest else 0

    def _say(self, headers: dict[str, str]) -> None:
        for key, value in {**headers, "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, no proxy, and no pauses."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", downloads.MIRROR, downloads.OFFLINE):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(caching.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0, 0.0))
    return tmp_path / "cache"


def published(server: Server, path: str = NAME, **stated: Any) -> Published:
    return Published(url=f"{server.url}/{path}", **({"hash": f"sha256:{SHA256}"} | stated))


def cached_files(cache: Path) -> dict[str, int]:
    """Every file below the cache with its size, except the notes of what was verified."""
    files = [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".verified.json")]
    return {path.name: path.stat().st_size for path in files}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(DownloadError) as caught:
        call()
    assert caught.value.exit_status == 3
    (line,) = str(caught.value).splitlines()
    return line


# -- a download --------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_nothing_else_stays(server: Server, cache: Path) -> None:
    server.has()
    wanted = published(server)

    path = fetch(wanted)

    assert path == cache / f"127.0.0.1_{server.server_port}" / NAME
    assert path.read_bytes() == BODY
    assert fetch(wanted) == path
    assert len(server.asked) == 1
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


@pytest.mark.parametrize(
    "hash_",
    [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(BODY).hexdigest()}", None],
    ids=["whole", "prefix", "md5", "none"],
)
def test_whatever_hash_is_stated_is_checked(server: Server, hash_: str | None) -> None:
    server.has()

    assert fetch(published(server, hash=hash_)).read_bytes() == BODY


@pytest.mark.parametrize(
    "hash_",
    [f"sha256:{SHA256[:-1]}0", "sha256:00000000", "md5:" + "0" * 32],
    ids=["last digit", "prefix", "md5"],
)
def test_a_wrong_hash_leaves_nothing_and_is_reported(server: Server, cache: Path, hash_: str) -> None:
    server.has()
    kind, _, digits = hash_.partition(":")

    line = refusal(lambda: fetch(published(server, hash=hash_)))

    assert digits in line
    assert hashlib.new(kind, BODY).hexdigest() in line
    assert cached_files(cache) == {}


def test_without_a_hash_what_the_first_server_says_is_checked(server: Server, cache: Path) -> None:
    """As Hugging Face answers: an address elsewhere, with the size and the SHA-256 of the file there."""
    server.has("elsewhere")
    server.has(location="/elsewhere", headers={"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(BODY))})
    server.has("bad", location="/elsewhere", headers={"X-Linked-Etag": f'"{"0" * 64}"'})

    assert fetch(published(server, hash=None)).read_bytes() == BODY
    assert f"{SHA256}, not {'0' * 64}" in refusal(lambda: fetch(published(server, "bad", hash=None)))
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


def test_that_only_the_length_was_checked_is_reported(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.has()

    with caplog.at_level(logging.WARNING, "resnet_spec"):
        fetch(published(server, hash=None))

    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url}/{NAME}: no hash was published: only its length was checked"
    ]


def test_what_nothing_could_verify_is_not_fetched(server: Server, cache: Path) -> None:
    server.has(length=None)

    assert "neither the spec nor the server states a hash" in refusal(lambda: fetch(published(server, hash=None)))
    assert cached_files(cache) == {}


def test_a_length_may_be_missing_where_a_hash_is_stated(server: Server) -> None:
    server.has(length=None)

    assert fetch(published(server)).read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY), "0.977 MiB", "1 MiB"])
def test_a_size_that_is_right(server: Server, size: int | str) -> None:
    server.has()

    assert fetch(published(server, size=size)).read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1, "0.976 MiB", "2 MiB"])
@pytest.mark.parametrize("length", [-1, None])
def test_another_size_than_stated(server: Server, cache: Path, size: int | str, length: int | None) -> None:
    server.has(length=length)

    line = refusal(lambda: fetch(published(server, size=size)))

    # Before anything is fetched, where the server says it.
    assert f"has {len(BODY):,} bytes{' on the server' if length else ''}, but the spec states {size}" in line
    assert cached_files(cache) == {}


def test_more_bytes_than_the_server_said(server: Server, cache: Path) -> None:
    linked = {"X-Linked-Size": str(len(BODY) - 5000), "X-Linked-Etag": f'"{SHA256}"'}
    server.has(length=None, headers=linked)

    assert f"more than the {len(BODY) - 5000:,} bytes" in refusal(lambda: fetch(published(server, hash=None)))
    assert cached_files(cache) == {}


def test_fewer_bytes_than_the_server_said(server: Server, cache: Path) -> None:
    server.has(length=None, headers={"X-Linked-Size": str(len(BODY) + 1), "X-Linked-Etag": f'"{SHA256}"'})

    refusal(lambda: fetch(published(server, hash=None)))
    assert "weights.safetensors" not in cached_files(cache)


# -- a connection that is cut ------------------------------------------------------------------------------------


@pytest.mark.parametrize("validator", [{}, {"etag": None, "modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_a_cut_connection_is_gone_on_with(server: Server, cache: Path, validator: dict[str, Any]) -> None:
    server.has(cuts=[500_000, 100_000], **validator)

    path = fetch(published(server))

    assert path.read_bytes() == BODY
    ranges = [headers.get("range") for _, headers in server.asked]
    assert ranges[0] is None
    begins = [int(re.fullmatch(r"bytes=(\d+)-", str(text))[1]) for text in ranges[1:]]  # type: ignore[index]
    # What was on its way when the connection was cut may be lost, the rest is not asked for again.
    assert 500_000 - downloads.CHUNK < begins[0] <= 500_000
    assert begins[0] < begins[1] <= begins[0] + 100_000
    assert [headers.get("if-range") for _, headers in server.asked][1:] == [validator.get("modified", '"one"')] * 2
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


def test_what_has_arrived_is_kept_for_the_next_time(server: Server, cache: Path) -> None:
    file = server.has(cuts=[300_000, 100_000, 100_000, 100_000])

    line = refusal(lambda: fetch(published(server)))
    part = cache.rglob("*.part")

    assert re.fullmatch(
        r"http://.*: the connection was cut; 0\.\d MiB of 1\.0 MiB were kept; the next attempt resumes from there",
        line,
    )
    assert next(part).read_bytes() == BODY[: max(cached_files(cache).values())]
    assert len(server.asked) == 4
    before = server.sent
    assert file.cuts == []
    assert fetch(published(server)).read_bytes() == BODY
    assert server.sent - before < len(BODY) - 400_000
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


@pytest.mark.parametrize(
    "server_has", [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}], ids=["no ranges", "no tag", "weak tag"]
)
def test_a_server_that_knows_no_ranges_sends_all_again(server: Server, server_has: dict[str, Any]) -> None:
    server.has(cuts=[500_000], **server_has)

    assert fetch(published(server)).read_bytes() == BODY
    assert len(server.asked) == 2
    # Without a tag that stands for the very bytes the rest is not asked for.
    assert ("range" in server.asked[1][1]) == ("ranges" in server_has)


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_has_changed_is_not_spliced(server: Server, honest: bool) -> None:
    server.has(body=bytes(len(BODY)), cuts=[500_000, 0, 0, 0])
    wanted = published(server, hash=None)
    refusal(lambda: fetch(wanted))
    server.has(etag='"two"', honest=honest)

    assert fetch(wanted).read_bytes() == BODY


def test_a_part_is_gone_before_its_note_changes(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.has(body=bytes(len(BODY)), cuts=[500_000, 0, 0, 0])
    refusal(lambda: fetch(published(server)))
    server.has(etag='"two"')
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        fetch(published(server))
    assert cached_files(cache) == {}


def test_a_part_that_is_whole_is_not_asked_for_again(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed between the last byte and the name leaves one."""
    server.has()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(published(server))
    assert sorted(cached_files(cache)) == ["weights.safetensors.part", "weights.safetensors.part.json"]

    assert fetch(published(server)).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_part_whose_end_the_server_does_not_have(server: Server, cache: Path) -> None:
    server.has(cuts=[500_000, 0, 0, 0])
    refusal(lambda: fetch(published(server)))
    server.has(statuses=[416])

    assert fetch(published(server)).read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"validator": 1, "what": 2}', None])
def test_a_part_without_a_note_is_downloaded_again(server: Server, cache: Path, note: str | None) -> None:
    server.has(cuts=[500_000, 0, 0, 0])
    refusal(lambda: fetch(published(server)))
    (path,) = cache.rglob("*.json")
    path.unlink() if note is None else path.write_text(note)
    server.asked.clear()

    assert fetch(published(server)).read_bytes() == BODY
    assert "range" not in server.asked[0][1]


INTERRUPTED = """
import sys
from resnet_spec.weights.download import fetch
from resnet_spec.spec.published import Published
fetch(Published(url=sys.argv[1], hash=sys.argv[2]))
"""


def program(wanted: Published) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", INTERRUPTED, wanted.url, str(wanted.hash)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@posix
@pytest.mark.parametrize("how", [signal.SIGINT, SIGKILL])
def test_a_process_that_is_stopped_leaves_what_it_had(server: Server, cache: Path, how: signal.Signals) -> None:
    file = server.has(stall=threading.Event())
    wanted = published(server)
    with program(wanted) as process:
        wait_for(lambda: any(size > 400_000 for name, size in cached_files(cache).items() if name.endswith(".part")))
        process.send_signal(how)
        process.communicate(timeout=300)
    assert file.stall is not None
    file.stall.set()
    server.has()

    assert fetch(wanted).read_bytes() == BODY
    start = int(server.asked[-1][1]["range"].removeprefix("bytes=").removesuffix("-"))
    assert start > 400_000
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


# -- several at once ---------------------------------------------------------------------------------------------


def test_of_two_processes_one_downloads_and_the_other_waits(server: Server, cache: Path) -> None:
    file = server.has(stall=threading.Event())
    wanted = published(server)
    with program(wanted) as first, program(wanted) as second:
        wait_for(lambda: server.asked)
        waiting = re.compile("waiting for another process that downloads weights.safetensors")
        # One of them says that it waits; only then is the file sent to its end.
        said: list[str] = []
        readers = [threading.Thread(target=_until, args=(process, waiting, said)) for process in (first, second)]
        for reader in readers:
            reader.start()
        wait_for(lambda: said)
        assert file.stall is not None
        file.stall.set()
        for reader in readers:
            reader.join(30)
        assert first.wait(30) == second.wait(30) == 0

    assert len(server.asked) == 1
    assert server.sent == len(BODY)
    assert cached_files(cache) == {"weights.safetensors": len(BODY)}


def _until(process: subprocess.Popen[str], wanted: re.Pattern[str], said: list[str]) -> None:
    assert process.stderr is not None
    said.extend(line for line in process.stderr if wanted.search(line))


# -- servers and disks that fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_asked_for_once(server: Server, cache: Path, status: int) -> None:
    server.has(statuses=[status] * 9)

    assert f"the server answers {status}" in refusal(lambda: fetch(published(server)))
    assert len(server.asked) == 1
    assert cached_files(cache) == {}


@pytest.mark.parametrize("status", [HANG_UP, 408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(server: Server, status: int) -> None:
    server.has(statuses=[status] * 3)

    assert fetch(published(server)).read_bytes() == BODY


def test_a_server_that_stays_in_trouble(server: Server, cache: Path) -> None:
    server.has(statuses=[503] * 9)

    assert "the server answers 503 Service Unavailable" in refusal(lambda: fetch(published(server)))
    assert len(server.asked) == 4
    assert cached_files(cache) == {}


def test_pauses_grow_between_attempts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(downloads, "PAUSES", PAUSES)
    monkeypatch.setattr(time, "sleep", paused.append)
    server.has(statuses=[503] * 9)

    refusal(lambda: fetch(published(server)))

    assert paused == list(PAUSES)
    assert all(later == 2 * earlier for earlier, later in pairwise(paused))


def test_a_server_without_an_answer_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(downloads, "TIMEOUTS", (5.0, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"

        assert refusal(lambda: fetch(Published(url=url))) == f"{url}: the server has sent nothing for 0.2 s"
    assert cached_files(cache) == {}


def test_a_server_that_stalls_is_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(downloads, "TIMEOUTS", (5.0, 0.2))
    file = server.has(stall=threading.Event())

    line = refusal(lambda: fetch(published(server)))

    assert f"{server.url}/{NAME}: the server has sent nothing for 0.2 s; " in line
    assert " were kept" in line
    assert len(server.asked) == 4
    assert file.stall is not None
    file.stall.set()


def test_a_server_that_is_not_there_is_asked_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waits"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert "Connection refused" in refusal(lambda: fetch(Published(url=f"http://127.0.0.1:{port}/file")))
    assert cached_files(cache) == {}


def test_a_redirect_leads_to_another_host(server: Server, cache: Path) -> None:
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        other.has("store/123")
        server.has(location=f"{other.url}/store/123")
        try:
            path = fetch(published(server))
        finally:
            other.shutdown()
            thread.join()

    assert path == cache / f"127.0.0.1_{server.server_port}" / NAME
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/file", f"/{NAME}"])
def test_a_redirect_that_leads_nowhere(server: Server, cache: Path, location: str) -> None:
    server.has(location=location)

    refusal(lambda: fetch(published(server)))
    assert cached_files(cache) == {}


def test_a_redirect_out_of_encryption_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from requests import Response, Session

    def answer(self: Session, url: str, **_: Any) -> Response:
        response = Response()
        response.status_code, response.url, response.raw = 200, url.replace("https", "http"), None
        response.close = lambda: None  # type: ignore[method-assign]
        return response

    monkeypatch.setattr(Session, "get", answer)

    line = refusal(lambda: fetch(Published(url="https://127.0.0.1/file")))
    assert line == "https://127.0.0.1/file: redirects to an address that is not encrypted"


def test_an_encoding_that_was_not_asked_for_is_refused(server: Server, cache: Path) -> None:
    server.has(headers={"Content-Encoding": "gzip"})

    assert "is encoded as gzip" in refusal(lambda: fetch(published(server)))
    assert server.asked[0][1]["accept-encoding"] == "identity"
    assert cached_files(cache) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_reported_and_freed(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    server.has()
    opened = Path.open

    def full(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(self, mode, *arguments, **options)
        if self.suffix == ".part" and mode != "rb":
            write = file.write

            class Full:
                def __enter__(self) -> Full:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def write(self, chunk: bytes) -> None:
                    write(chunk)
                    if file.tell() > 300_000:
                        raise OSError(code, os.strerror(code))

            return Full()
        return file

    monkeypatch.setattr(Path, "open", full)

    assert "the disk is full" in refusal(lambda: fetch(published(server)))
    assert cached_files(cache) == {}


def test_a_disk_too_small_is_reported_before_anything_is_fetched(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.has()
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))

    assert "1.0 MiB remain to be downloaded" in refusal(lambda: fetch(published(server)))
    assert cached_files(cache) == {}


def test_a_cache_that_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(caching.CACHE, str(tmp_path / "file"))

    assert "cannot be written (Not a directory)" in refusal(lambda: fetch(published(server)))


# -- mirrors, offline, what is shown -----------------------------------------------------------------------------


def test_a_mirror_is_asked_instead(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.has(f"mirror/publisher.invalid/{NAME}")
    monkeypatch.setenv(downloads.MIRROR, f"{server.url}/mirror/")

    path = fetch(Published(url=f"https://publisher.invalid/{NAME}", hash=f"sha256:{SHA256}"))

    assert path == cache / "publisher.invalid" / NAME
    assert [asked for asked, _ in server.asked] == [f"/mirror/publisher.invalid/{NAME}"]


def test_a_mirror_that_lacks_a_file_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(downloads.MIRROR, server.url)

    line = refusal(lambda: fetch(Published(url="https://publisher.invalid/file")))
    assert line == f"{server.url}/publisher.invalid/file: the server answers 404 Not Found (RESNET_SPEC_MIRROR is set)"


@pytest.mark.parametrize("mirror", ["/folder", "ftp://host", "file:///folder", "https:///x"])
def test_a_mirror_that_is_none(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv(downloads.MIRROR, mirror)

    assert f"RESNET_SPEC_MIRROR is {mirror!r}" in refusal(
        lambda: fetch(Published(url="https://publisher.invalid/file"))
    )


def test_offline_the_cache_is_all_there_is(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    server.has()
    path = fetch(published(server))
    monkeypatch.setenv(downloads.OFFLINE, "1")
    server.asked.clear()

    assert fetch(published(server)) == path
    line = refusal(lambda: fetch(published(server, "other")))
    place = cache / f"127.0.0.1_{server.server_port}" / "other"
    assert line == f"{server.url}/other: not downloaded, since RESNET_SPEC_OFFLINE is set and {place} does not exist"
    assert server.asked == []


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_can_be_switched_off(server: Server, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    server.has()
    monkeypatch.setenv(downloads.OFFLINE, value)

    assert fetch(published(server)).is_file()


# -- where a file is kept ----------------------------------------------------------------------------------------


def cached(url: str, cache: Path) -> str:
    """Where an address is kept in the cache, without asking anyone."""
    return cached_path(Published(url=url).url).relative_to(cache).as_posix()


@pytest.mark.parametrize(
    "path",
    ["a/../../b", "../b", "a//b", "a/./b", "a/", "%2e%2e/b", "a/.%2E/b", "..%2fb", "a%5cb", "..\\b", "a%00b", "a%0Ab"],
)
def test_a_path_does_not_lead_out_of_the_cache(path: str) -> None:
    assert "its path does not name a file" in refusal(lambda: fetch(Published(url=f"http://127.0.0.1:9/{path}")))


@pytest.mark.parametrize(
    "host", ["..", ".", "...", "..:80", "a..b", ".a", "a.", "C:", "a\\b", "%2e%2e", "[..]", "[", "a:b"]
)
def test_a_host_does_not_lead_out_of_the_cache(host: str, cache: Path) -> None:
    line = refusal(lambda: fetch(Published(url=f"https://{host}/x")))

    assert line == f"https://{host}/x: its host is not a host name"
    assert not cache.exists()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://a.example/b/c.pth", "a.example/b/c.pth"),
        ("https://A.example:8080/b c+d,e=f@g~h", None),
        ("https://A.example:8080/b%20c+d,e=f@g~h", "a.example_8080/b%20c+d,e=f@g~h"),
        ("https://[::1]:80/x", "[__1]_80/x"),
        ("https://a.example/Größe.pth", "a.example/Gr%C3%B6%C3%9Fe.pth"),
        ("https://a.example/con", "a.example/%63on"),
        ("https://a.example/NUL.pth/x", "a.example/%4EUL.pth/x"),
        ("https://a.example/com1.tar.gz", "a.example/%63om1.tar.gz"),
        ("https://nul/x", "%6Eul/x"),
        ("https://a.example/console", "a.example/console"),
        ("https://a.example/x.", "a.example/x%2E"),
        ("https://a.example/x...", "a.example/x..%2E"),
        ('https://a.example/a:b*c|d<e>f"g', "a.example/a%3Ab%2Ac%7Cd%3Ce%3Ef%22g"),
        ("https://a.example/x.lock", "a.example/x%2Elock"),
        ("https://a.example/x.part", "a.example/x%2Epart"),
        ("https://a.example/x.part.json", "a.example/x.part%2Ejson"),
        ("https://a.example/x.verified.json", "a.example/x.verified%2Ejson"),
        ("https://a.example/x.json", "a.example/x.json"),
    ],
)
def test_a_place_in_the_cache_is_one_on_every_system(url: str, place: str | None, cache: Path) -> None:
    if place is None:
        with pytest.raises(ValueError, match="should match pattern"):
            Published(url=url)
    else:
        assert cached(url, cache) == place


def test_a_name_too_long_for_a_file_system_is_cut(server: Server, cache: Path) -> None:
    first, second = "ß" * 60 + "1.safetensors", "ß" * 60 + "2.safetensors"
    for name in (first, second):
        server.has("".join(f"%{byte:02X}" if byte > 127 else chr(byte) for byte in name.encode()))
    places = [fetch(published(server, name)) for name in (first, second)]

    assert places[0] != places[1]
    assert all(place.read_bytes() == BODY and len(place.name) < 200 for place in places)
    assert all(place.suffix == ".safetensors" for place in places)


# -- a file that is in the cache ---------------------------------------------------------------------------------


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As a new process does, forget what this one has verified."""
    return lambda: monkeypatch.setattr(caching, "_verified", set())


@pytest.mark.parametrize(
    "hash_", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(BODY).hexdigest()}", None]
)
@pytest.mark.parametrize(
    "content", [BODY[:-1] + b"x", BODY[:1000], BODY + b"x", b""], ids=["same size", "cut", "longer", "empty"]
)
def test_a_cached_file_that_was_changed_is_fetched_again(
    server: Server, caplog: pytest.LogCaptureFixture, forgetful: Callable[[], None], hash_: str | None, content: bytes
) -> None:
    """Also one of which nothing but its own hash at the time of the download is known."""
    server.has()
    path = fetch(published(server, hash=hash_))
    path.write_bytes(content)
    forgetful()
    caplog.clear()

    with caplog.at_level(logging.WARNING, "resnet_spec"):
        assert fetch(published(server, hash=hash_)) == path
    assert path.read_bytes() == BODY
    assert len(server.asked) == 2
    assert caplog.records[0].getMessage().startswith(f"{path}: ")
    assert caplog.records[0].getMessage().endswith("; it is downloaded again")


@pytest.mark.parametrize("stated", [{"hash": "sha256:" + "0" * 64}, {"hash": "md5:" + "0" * 32}, {"size": 7}])
def test_a_cached_file_that_the_spec_no_longer_means_is_fetched_again(server: Server, stated: dict[str, Any]) -> None:
    """Within one process too: the spec may have been edited."""
    server.has()
    path = fetch(published(server))

    refusal(lambda: fetch(published(server, **stated)))
    assert len(server.asked) == 2
    assert path.read_bytes() == BODY
    assert fetch(published(server)) == path
    assert len(server.asked) == 2


def test_a_new_version_replaces_the_cached_one(server: Server) -> None:
    server.has()
    fetch(published(server))
    server.has(body=BODY[::-1], etag='"two"')
    new = f"sha256:{hashlib.sha256(BODY[::-1]).hexdigest()}"

    assert fetch(published(server, hash=new)).read_bytes() == BODY[::-1]


def test_offline_a_cached_file_that_is_wrong_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, forgetful: Callable[[], None]
) -> None:
    server.has()
    path = fetch(published(server))
    path.write_bytes(BODY[:-1] + b"x")
    monkeypatch.setenv(downloads.OFFLINE, "1")
    forgetful()

    line = refusal(lambda: fetch(published(server)))
    assert line.startswith(
        f"{server.url}/{NAME}: not downloaded, since RESNET_SPEC_OFFLINE is set and {path} is not the file"
    )
    assert path.read_bytes() == BODY[:-1] + b"x"


def test_a_cached_file_is_hashed_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, forgetful: Callable[[], None]
) -> None:
    server.has()
    path = fetch(published(server))
    hashed: list[Path] = []
    digest = caching.digest_of
    monkeypatch.setattr(caching, "digest_of", lambda path, kind: hashed.append(path) or digest(path, kind))

    for _ in range(3):
        forgetful()
        fetch(published(server))
    assert hashed == []
    # Its time has changed, as in a copy of the cache.
    os.utime(path, (1, 1))
    for _ in range(3):
        forgetful()
        fetch(published(server))
    assert hashed == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"size": "1"}',
        b'{"size": 1, "modified": 2, "hash": "sha256:0", "more": 3}',
        None,
    ],
)
def test_a_broken_note_of_what_was_verified_means_to_verify_again(
    server: Server, forgetful: Callable[[], None], content: bytes | None
) -> None:
    server.has()
    path = fetch(published(server))
    note = path.with_name(f"{path.name}.verified.json")
    whole = note.read_bytes()
    note.unlink() if content is None else note.write_bytes(content)
    forgetful()

    assert fetch(published(server)) == path
    assert note.read_bytes() == whole
    assert len(server.asked) == 1


def test_a_cache_that_cannot_be_written_to_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, forgetful: Callable[[], None]
) -> None:
    server.has()
    path = fetch(published(server))
    note = path.with_name(f"{path.name}.verified.json")
    note.unlink()
    note.mkdir()
    forgetful()

    assert fetch(published(server)) == path
    assert len(server.asked) == 1


def test_a_proxy_of_the_environment_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["http://publisher.invalid/file"] = File()
    monkeypatch.setenv("HTTP_PROXY", server.url)

    assert fetch(Published(url="http://publisher.invalid/file", hash=f"sha256:{SHA256}")).read_bytes() == BODY


def test_without_a_terminal_one_line_is_shown(server: Server, capfd: pytest.CaptureFixture[str], cache: Path) -> None:
    server.has()

    path = fetch(published(server))

    assert capfd.readouterr() == ("", f"downloading {server.url}/{NAME} to {path}\n")
    fetch(published(server))
    assert capfd.readouterr() == ("", "")


def test_in_a_terminal_a_bar_is_shown(
    server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.has()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")

    fetch(published(server))

    out, err = capfd.readouterr()
    assert out == ""
    assert "weights.safetensors" in err
    assert "1,000.0/1,000.0 KiB" in err


def test_nothing_is_shown_where_nothing_is_wanted(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    server.has()

    fetch(published(server), progress=False)

    assert capfd.readouterr() == ("", "")


# -- by name -----------------------------------------------------------------------------------------------------


def test_a_name_is_fetched_and_a_path_stays_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.has()
    spec = tmp_path / "mine.yaml"
    spec.write_text(f"stem: {{x: relu}}\nweights:\n  mine: {{url: '{server.url}/{NAME}', hash: 'sha256:{SHA256}'}}\n")
    loaded = load(spec)

    assert resolve(loaded, "mine").read_bytes() == BODY
    assert resolve(load("resnet18"), f"{spec}:mine").read_bytes() == BODY
    assert resolve(loaded, str(spec)) == spec
    with pytest.raises(WeightsError, match=r"^folder/mine: no such file$"):
        resolve(loaded, "folder/mine")
    with pytest.raises(
        WeightsError, match=r"^mine has no published weights 'mien'; did you mean 'mine'\? \(known: mine\)$"
    ):
        resolve(loaded, "mien")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    assert resolve(loaded, "mine") == Path("mine")


SMALL = """
    extends: resnet18
    parameters: {{classes: 3}}
    stem: {{conv1: {{conv2d: {{channels: 4}}}}}}
    stages: {{layer1: {{channels: 4}}, layer2: {{channels: 4}}, layer3: {{channels: 4}}, layer4: {{channels: 4}}}}
    weights: {{mine: {{url: "{url}", classes: 3}}}}
"""


def test_a_command_takes_a_name_for_weights(
    server: Server, write: Callable[..., Path], command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = load(write(SMALL.format(url=f"{server.url}/{NAME}"), "mine.yaml")).to_graph()
    write_weights("original.safetensors", graph, initialize(graph, 3))
    server.has(body=Path("original.safetensors").read_bytes())

    assert command("resnet-spec", "convert", "mine.yaml", "mine", "copy.safetensors").status == 0
    assert read_weights("copy.safetensors", graph).keys() == initialize(graph, 3).keys()

    monkeypatch.setenv(caching.CACHE, "another")
    monkeypatch.setenv(downloads.OFFLINE, "1")
    done = command("resnet-spec", "convert", "mine.yaml", "mine", "none.safetensors")
    assert done.status == 3
    assert done.err.startswith(f"{server.url}/{NAME}: not downloaded")
    assert not Path("none.safetensors").exists()
