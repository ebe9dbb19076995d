"""A server on loopback with the part of the Hugging Face Hub's interface that a push and a download use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: with the right to write, and without."""


@dataclass
class Repository:
    """The files of each revision by name; every commit replaces the files that it has."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[dict[str, Any]] = field(default_factory=list)
    private: bool = False
    gated: bool = False


class Hub(ThreadingHTTPServer):
    """Repositories by name, and what was asked for; ``failing`` is a part of a path that is answered with 400."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failing: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes | str], revision: str = "main", **settings: bool) -> None:
        repository = self.repositories.setdefault(name, Repository(**settings))
        contents = {file: text.encode() if isinstance(text, str) else text for file, text in files.items()}
        repository.revisions.setdefault(revision, {}).update(contents)


@contextmanager
def hub() -> Generator[Hub]:
    """A running server."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does, with its errors' headers."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._get(body=False)

    def do_GET(self) -> None:
        self._get(body=True)

    def do_POST(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    # -- answers -------------------------------------------------------------------------------------------------

    def _send(self, status: int, content: bytes = b"", *, body: bool = True, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _json(self, data: Any, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), Content_Type="application/json")

    def _refuse(self, status: int, code: str, *, body: bool = True) -> None:
        self._send(status, b"{}", body=body, X_Error_Code=code, X_Error_Message=code)

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    # -- reading -------------------------------------------------------------------------------------------------

    def _get(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if path == "/api/whoami-v2":
            known = self._token in {WRITER, READER}
            self._json({"name": "someone", "type": "user", "orgs": []} if known else {}, 200 if known else 401)
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path)
        if found is None:
            self._refuse(404, "EntryNotFound", body=body)
            return
        name, revision, file = found.groups()
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self._token != WRITER):
            self._refuse(401, "RepoNotFound", body=body)
        elif repository.gated and self._token != WRITER:
            self._refuse(403, "GatedRepo", body=body)
        elif revision not in repository.revisions and not revision.startswith("0"):
            self._refuse(404, "RevisionNotFound", body=body)
        elif file not in repository.revisions.get(revision, repository.revisions["main"]):
            self._refuse(404, "EntryNotFound", body=body)
        else:
            content = repository.revisions.get(revision, repository.revisions["main"])[file]
            digest = hashlib.sha256(content).hexdigest()
            commit = hashlib.sha1(revision.encode()).hexdigest()
            self._send(200, content, body=body, ETag=f'"{digest}"', X_Repo_Commit=commit)

    # -- writing -------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if self.server.failing and self.server.failing in path:
            self._send(400)
        elif path.startswith("/objects/"):
            self.server.objects[path.rpartition("/")[2]] = content
            self._send(200)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self._token != WRITER:
            self._refuse(401 if not self._token else 403, "")
        elif path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked.get('organization', 'someone')}/{asked['name']}"
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, Repository(private=bool(asked.get("private"))))
            self._json({"url": f"{self.server.url}/{name}", "name": name}, 409 if known else 200)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            revisions = self.server.repositories[found[1]].revisions
            revisions.setdefault(found[2], dict(revisions["main"]))
            self._send(200)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/.+", path):
            files = json.loads(content)["files"]
            large = {True: "lfs", False: "regular"}
            modes = [(file["path"], large[file["path"].endswith(".safetensors")]) for file in files]
            self._json({"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(content)["objects"]
            for each in objects:
                each["actions"] = {"upload": {"href": f"{self.server.url}/objects/{each['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(self.server.repositories[found[1]], found[1], found[2], content)
        else:
            self._send(404)

    def _commit(self, repository: Repository, name: str, revision: str, content: bytes) -> None:
        parts = [json.loads(line) for line in content.splitlines()]
        (header,) = (part["value"] for part in parts if part["key"] == "header")
        files: dict[str, bytes] = {}
        for part in parts:
            value = part["value"]
            if part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        repository.revisions[revision].update(files)
        repository.commits.append({"summary": header["summary"], "revision": revision, "files": sorted(files)})
        url = f"{self.server.url}/{name}/commit/{len(repository.commits):040x}"
        self._json({"commitUrl": url, "commitOid": f"{len(repository.commits):040x}"})
