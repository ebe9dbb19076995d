"""The commands ``resnet-spec`` and ``resnet-build``, and how they start.

Importing a command takes a while, in which Ctrl-C may come too.
"""

from __future__ import annotations

import sys
from _thread import interrupt_main
from importlib import import_module
from threading import Timer
from typing import Any

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended."""


def start_spec() -> None:
    """The entry point of ``resnet-spec``."""
    _start("resnet_spec.cli.spec")


def start_build() -> None:
    """The entry point of ``resnet-build``."""
    _start("resnet_spec.cli.build")


def _start(module: str) -> None:
    sys.unraisablehook = _interrupted_again
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


def _interrupted_again(unraisable: Any) -> None:
    """Interrupt again if Ctrl-C came in code that cannot pass on an exception, such as a callback of a C library."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        # Not at once: an exception in this function is not passed on either.
        Timer(0.05, interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)
