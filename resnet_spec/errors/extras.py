"""Libraries that come with extras: who needs one reads what to install."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module

from resnet_spec.errors.exceptions import MissingLibraryError


def require(extra: str, what: str, module: str) -> None:
    """Import a module of an extra before long work whose result needs it; raises MissingLibraryError as ``needs``."""
    with needs(extra, what):
        import_module(module)


@contextmanager
def needs(extra: str, what: str) -> Generator[None]:
    """Import the libraries of an extra, for what a message says.

    Raises MissingLibraryError if one is not installed.

    >>> try:
    ...     with needs("reports", "an HTML report"):
    ...         import no_such_library
    ... except MissingLibraryError as error:
    ...     print(error)
    an HTML report needs no_such_library: pip install 'resnet-spec[reports]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"{what} needs {error.name}: pip install 'resnet-spec[{extra}]'") from None
