"""Serves the preview on the loopback interface, to pages of its own only.

Any page that a browser shows can send requests to this machine, and a host name can be made to resolve to it, so every
request must name this server's own host, and its own origin if it names one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from resnet_spec.errors import OutputError
from resnet_spec.preview.page import POLICY, fragment, page
from resnet_spec.preview.watching import Watched

LOOPBACK = "127.0.0.1"
KEEP_ALIVE = 10.0
"""Seconds without a change after which a comment is sent, by which a page that was closed is noticed."""


class PreviewServer(ThreadingHTTPServer):
    """A server of one page.

    Args:
        watched: What is shown.
        port: The port, or 0 for any that is free.

    Raises:
        OutputError: If the port is in use, or may not be used.
    """

    daemon_threads = True

    def __init__(self, watched: Watched, port: int = 0) -> None:
        self.watched = watched
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"port {port}: {why}; choose another one, or none for any free port") from None

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may name as this server."""
        return frozenset(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore that a page was closed while it was sent."""


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "resnet-spec"
    sys_version = ""
    timeout = 60
    """Seconds after which a client that sends no request, or reads no answer, is disconnected."""

    def do_GET(self) -> None:
        if not self._is_own():
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers its own page only")
        elif self.path == "/":
            # The versions first: what changes meanwhile is sent again.
            seen = _joined(self.server.watched.versions)
            self._send("text/html", page(self.server.watched.contents, seen).encode())
        elif self.path.partition("?")[0] == "/changes":
            self._send_changes()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _is_own(self) -> bool:
        hosts = self.server.hosts
        origins = {f"http://{host}" for host in hosts}
        named = self.headers.get_all("Host") or []
        return len(named) == 1 and named[0] in hosts and set(self.headers.get_all("Origin") or []) <= origins

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self._send_policy()
        self.wfile.write(body)

    def _send_changes(self) -> None:
        """Send what is shown of each file that has changed since the page had it, until the page is closed."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self._send_policy()
        watched = self.server.watched
        seen = self._seen()
        while (versions := watched.wait(seen, KEEP_ALIVE)) is not None:
            for place, version in enumerate(versions):
                if version != seen[place]:
                    content = watched.contents[place]
                    data = {"place": place, "broken": bool(content.mistakes), "html": fragment(content)}
                    seen[place] = version
                    self.wfile.write(f"id: {_joined(seen)}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.write(b": alive\n\n")

    def _seen(self) -> list[int]:
        """The version of each file that the page has, by its last event or else by its address; 0 if it names none."""
        text = self.headers.get("Last-Event-ID") or self.path.partition("?")[2]
        named = [int(part) if re.fullmatch("[0-9]{1,20}", part) else 0 for part in text.split(",")]
        return named if len(named) == len(self.server.watched.versions) else [0 for _ in self.server.watched.versions]

    def _send_policy(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print no line for each request."""


def _joined(versions: Iterable[int]) -> str:
    return ",".join(map(str, versions))
