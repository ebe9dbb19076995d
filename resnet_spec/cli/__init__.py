"""The commands ``resnet-spec`` and ``resnet-build``, and how they start.

Importing a command takes a while, in which Ctrl-C may come too.
"""

from __future__ import annotations

import sys
from importlib import import_module

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended."""


def start_spec() -> None:
    """The entry point of ``resnet-spec``."""
    _start("resnet_spec.cli.spec")


def start_build() -> None:
    """The entry point of ``resnet-build``."""
    _start("resnet_spec.cli.build")


def _start(module: str) -> None:
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
