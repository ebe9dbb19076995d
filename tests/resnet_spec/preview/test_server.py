"""The server of the preview: who may ask, and what is sent when files change."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.errors import OutputError
from resnet_spec.preview.server import PreviewServer
from resnet_spec.preview.watching import Watched

MINE = "extends: cifar/resnet20\n"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, "utf-8")
    return path


@pytest.fixture
def server(spec: Path) -> Iterator[PreviewServer]:
    watched = Watched([spec])
    with PreviewServer(watched) as running:
        watched.start()
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        watched.end()
        running.shutdown()
        thread.join()


def get(server: PreviewServer, path: str = "/", **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    host = headers.pop("Host", f"127.0.0.1:{server.server_port}")
    connection.request("GET", path, headers={"Host": host, **headers})
    answer = connection.getresponse()
    return answer.status, answer.read().decode() if path == "/" or answer.status != 200 else ""


def events(server: PreviewServer, query: str = "", **headers: str) -> Iterator[dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", f"/changes{query}", headers=headers)
    answer = connection.getresponse()
    found = ""
    while line := answer.readline():
        if line.startswith(b"id: "):
            found = line.decode().removeprefix("id: ").strip()
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: ")) | {"id": found}
    connection.close()


def test_the_page_is_sent_to_its_own_host_only(server: PreviewServer) -> None:
    port = server.server_port
    assert get(server)[0] == 200
    assert get(server, Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200
    for host in ("example.org", f"example.org:{port}", "127.0.0.1", "127.0.0.1:1", f"localhost.example.org:{port}"):
        status, text = get(server, Host=host)
        assert (status, "cifar" in text) == (403, False)
    for origin in ("http://example.org", "null", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port}.example.org"):
        for path in ("/", "/changes"):
            assert get(server, path, Origin=origin)[0] == 403


def test_a_request_without_a_host_or_with_two_is_refused(server: PreviewServer) -> None:
    for hosts in ([], [f"127.0.0.1:{server.server_port}", "example.org"]):
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.putrequest("GET", "/", skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 403


@pytest.mark.parametrize("path", ["/etc/passwd", "/../mine.yaml", "/?", "/page.css"])
def test_nothing_else_is_served(server: PreviewServer, path: str) -> None:
    assert get(server, path)[0] == 404


def test_the_page_loads_nothing_from_elsewhere(server: PreviewServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "https:" not in answer.read().decode().replace("https://www.w3.org", "")


def test_changes_are_sent_until_the_preview_ends(server: PreviewServer, spec: Path) -> None:
    changes = events(server)
    assert "✓ valid" in next(changes)["html"]
    spec.write_text(MINE + "stages: {layer1: {repeat: 0}}\n", "utf-8")
    broken = next(changes)
    assert broken["broken"]
    assert "must be at least 1" in broken["html"]
    spec.write_text(MINE + "stages: {layer1: {repeat: 2}}\n", "utf-8")
    fixed = next(changes)
    assert not fixed["broken"]
    assert "2 blocks instead of 3" in fixed["html"]
    server.watched.end()
    assert list(changes) == []


def test_what_a_page_has_is_not_sent_again(server: PreviewServer, spec: Path) -> None:
    seen = get(server)[1].partition('data-seen="')[2].partition('"')[0]
    pages = [events(server, f"?{seen}"), events(server, "?1", **{"Last-Event-ID": seen})]
    spec.write_text(MINE + "stages: {layer1: {repeat: 2}}\n", "utf-8")
    for page in pages:
        change = next(page)
        assert "2 blocks instead of 3" in change["html"]
        assert change["id"] == str(int(seen) + 1)
    for query in ("", "?1", "?1,2", "?x", f"?{'9' * 5000}"):
        assert next(events(server, query))["id"] == str(int(seen) + 1)


def test_a_file_is_followed_when_it_is_replaced_or_gone(server: PreviewServer, spec: Path) -> None:
    changes = events(server)
    next(changes)
    spec.unlink()
    assert next(changes)["broken"]
    other = spec.with_suffix(".new")
    other.write_text(MINE, "utf-8")
    other.replace(spec)
    assert not next(changes)["broken"]


def test_files_that_a_spec_depends_on_are_followed(server: PreviewServer, spec: Path) -> None:
    changes = events(server)
    next(changes)
    base = spec.with_name("base.yaml")
    base.write_text(MINE, "utf-8")
    spec.write_text("extends: base.yaml\n", "utf-8")
    assert "Compared with base" in next(changes)["html"]
    base.write_text(MINE + "stages: {layer1: {repeat: no}}\n", "utf-8")
    assert next(changes)["broken"]


def test_a_port_in_use_is_an_error_in_one_line(server: PreviewServer) -> None:
    with pytest.raises(OutputError, match=rf"^port {server.server_port}: Address already in use; "):
        PreviewServer(server.watched, server.server_port)


def test_a_client_that_sends_nothing_is_disconnected(server: PreviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = server.RequestHandlerClass
    monkeypatch.setattr(handler, "timeout", handler.timeout / 1000)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        client.sendall(b"GET / HT")
        assert client.recv(1) == b""
