"""Specs and weights in repositories of the Hugging Face Hub: ``hf://OWNER/NAME``, fetched by huggingface_hub."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

from resnet_spec.errors import HubError, printable
from resnet_spec.errors.extras import needs

PREFIX = "hf://"

SPEC, WEIGHTS, DRAWING, CARD = "spec.yaml", "model.safetensors", "network.svg", "README.md"
"""The files of a repository that ``push`` writes."""

_ADDRESS = re.compile(
    r"(?:hf://)?(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)"
    r"(?:@(?P<revision>refs/pr/\d+|[\w.-]+))?(?:/(?P<file>[^/\\\s]+(?:/[^/\\\s]+)*))?",
    re.ASCII,
)

_folders: set[Path] = set()
"""The folders of specs that were fetched: what they contain is a stranger's."""


class Address(NamedTuple):
    """A repository, and what is meant in it: a revision (None for the main branch), a file (None for the usual one)."""

    repository: str
    revision: str | None
    file: str | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``hf://OWNER/NAME``, with ``@REVISION`` and ``/FILE`` where they are meant; raises HubError.

        >>> Address.parse("hf://someone/net@v1")
        Address(repository='someone/net', revision='v1', file=None)
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or ".." in text:
            raise HubError(f"{text}: an address is hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/FILE")
        return cls(found["repository"], found["revision"], found["file"])


def is_address(text: object) -> bool:
    """Whether a text names a repository of the Hub."""
    return isinstance(text, str) and text.startswith(PREFIX)


def fetch(text: str, usual: str) -> Path:
    """The file of an address in the cache of huggingface_hub, which downloads it if it is not there.

    Args:
        text: The address.
        usual: The file that is meant if the address names none.

    Returns:
        A path in the cache; ``HF_HOME`` moves it, ``HF_HUB_OFFLINE=1`` uses only what it has.

    Raises:
        HubError: There is no such repository, revision or file, no right to read it, or no connection.
        MissingLibraryError: huggingface_hub is not installed.
    """
    address = Address.parse(text)
    with explained(text), needs("hub", text):
        from huggingface_hub import hf_hub_download  # pyright: ignore[reportUnknownVariableType]

        path = Path(hf_hub_download(address.repository, address.file or usual, revision=address.revision))
    if path.suffix in {".yaml", ".yml"}:
        _folders.add(path.parent)
    return path


def is_fetched(folder: Path) -> bool:
    """Whether a folder is that of a spec that was fetched, which may not name files: they would be the reader's."""
    return folder in _folders


@contextmanager
def explained(text: str) -> Generator[None]:
    """Turn the errors of huggingface_hub into one that says what to do."""
    try:
        yield
    except Exception as error:
        # ValueError: a name that no repository may have. The library's own errors are of several kinds.
        origin = type(error).__module__.partition(".")[0]
        if not isinstance(error, OSError | ValueError) and origin not in {"huggingface_hub", "httpx", "httpx2"}:
            raise
        raise HubError(f"{text}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "access is restricted: ask for it on the repository's page, and log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private and you have no right to it (`hf auth login`)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return "is not in the cache, and the Hub cannot be reached (is HF_HUB_OFFLINE set?)"
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no such file"
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return "log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"you have no right to this ({_in_a_line(error)})"
    return _in_a_line(error)


def _in_a_line(error: Exception) -> str:
    return shorten(printable(str(error)), 300, placeholder=" …").rstrip(":") or type(error).__name__
