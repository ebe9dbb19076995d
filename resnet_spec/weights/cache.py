"""The cache of downloaded weights, and the verification that a cached file is the published one.

A note beside a file states its hash, size and modification time; the file is hashed again only if size or time differ,
or the note is missing or invalid.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from resnet_spec.errors import DownloadError, OutputError
from resnet_spec.errors.extras import needs
from resnet_spec.spec.published import Published
from resnet_spec.weights.atomic import replacing

CACHE = "RESNET_SPEC_CACHE"
"""The environment variable that names the cache's folder."""

PART, PART_NOTE, LOCK, VERIFIED = ".part", ".part.json", ".lock", ".verified.json"
"""Endings of the files beside a cached one."""

MAX_NAME = 160
"""Characters of a file's name; file systems allow 255 bytes, which include the endings above."""

_HOST = r"[\w-]+(\.[\w-]+)*(:\d{1,5})?|\[[\da-f:.]*:[\da-f:.]*\](:\d{1,5})?"

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows reserves for devices, with any ending."""


def cache_folder() -> Path:
    """The folder of downloads: ``$RESNET_SPEC_CACHE``, or the user's cache folder."""
    with needs("download", "a download"):
        from platformdirs import user_cache_path

    return Path(os.environ.get(CACHE) or user_cache_path("resnet-spec", appauthor=False)).expanduser()


def cached_path(url: str) -> Path:
    """The file in the cache for an address: its host, and its path below; raises DownloadError as ``url_parts``."""
    return cache_folder().joinpath(*map(_file_name, url_parts(url)))


def url_parts(url: str) -> list[str]:
    """An address's host and the quoted names of its path, each of which names a file or folder and nothing else.

    Raises DownloadError if one does not, also after unquoting.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise DownloadError(f"{url}: its host is not a host name") from None
    host = parts.netloc.lower()
    if not re.fullmatch(_HOST, host):
        raise DownloadError(f"{url}: its host is not a host name")
    names = quote(parts.path, safe="/%+,=@~").split("/")[1:]
    for name in map(unquote, names):
        if name in ("", ".", "..") or any(character in "/\\" or ord(character) < 32 for character in name):
            raise DownloadError(f"{url}: its path does not name a file")
    return [host.replace(":", "_"), *names]


def _file_name(part: str) -> str:
    """A part of an address as a name that every file system preserves and that none of the cache's own files has."""
    if _RESERVED.match(part):
        part = f"%{ord(part[0]):02X}{part[1:]}"
    if part.endswith((".", PART, PART_NOTE, LOCK, VERIFIED)):
        stem, _, ending = part.rpartition(".")
        part = f"{stem}%2E{ending}"
    if len(part) > MAX_NAME:
        digest = hashlib.sha256(part.encode()).hexdigest()[:16]
        part = f"{part[: MAX_NAME // 2]}~{digest}{Path(part).suffix[:20]}"
    return part


# -- verification ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Verified:
    """The content of a note: the hash of a file, and its size and modification time (in ns) when it was hashed."""

    size: int
    modified: int
    hash: str


_verified: set[tuple[Path, _Verified]] = set()
"""Files verified by this process, for caches that are read-only."""


def verification_problem(path: Path, published: Published) -> str | None:
    """What is wrong with a cached file, as the end of a sentence; None if it is the published one.

    The size is always compared with the published one. The content is hashed unless a note states its hash for this
    size and modification time. If no hash is published, it is compared with its hash when it was downloaded.
    """
    status = path.stat()
    if not published.matches_size(status.st_size):
        return f"has {status.st_size:,} bytes, but the spec states {published.size}"
    note = _read_note(path)
    wanted = published.hash or (note.hash if note else "sha256:")
    if note and (note.size, note.modified) == (status.st_size, status.st_mtime_ns) and note.hash.startswith(wanted):
        return None
    if (path, _Verified(status.st_size, status.st_mtime_ns, wanted)) in _verified:
        return None
    kind, _, digits = wanted.partition(":")
    found = digest_of(path, kind)
    if not found.startswith(digits):
        return f"is not the file that was published: its {kind} is {found}, not {digits}"
    _verified.add((path, _Verified(status.st_size, status.st_mtime_ns, wanted)))
    _write_note(path, _Verified(status.st_size, status.st_mtime_ns, f"{kind}:{found}"))
    return None


def remember(path: Path, hash: str) -> None:
    """Note that a file that was just fetched has this hash."""
    status = path.stat()
    _write_note(path, _Verified(status.st_size, status.st_mtime_ns, hash))


def digest_of(path: Path, kind: str) -> str:
    """The hexadecimal digest of a file's content, of the kind ``sha256`` or ``md5``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _note(path: Path) -> Path:
    return path.with_name(path.name + VERIFIED)


def _read_note(path: Path) -> _Verified | None:
    try:
        note: Any = json.loads(_note(path).read_text("utf-8"))
        size, modified, hash = note["size"], note["modified"], note["hash"]
        known = type(size) is type(modified) is int and re.match("(sha256|md5):", hash)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return _Verified(size, modified, hash) if known else None


def _write_note(path: Path, note: _Verified) -> None:
    """Write a note atomically; without one the next process hashes the file again."""
    with suppress(OutputError, OSError), replacing(_note(path), force=True) as temporary:
        temporary.write_text(json.dumps(asdict(note)), "utf-8")
