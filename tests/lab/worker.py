"""Processes in which the lab's slow work is done, with limits of time and memory: they answer requests one by one."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

MEMORY_LIMIT = 14 * 2**30
"""Bytes of address space of a process."""


def work(answer: Callable[..., dict[str, Any]]) -> None:
    """Answer each line of the standard input, words that ``answer`` takes, with a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    answers = os.fdopen(os.dup(1), "w")
    # What frameworks print is no answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            found = answer(*line.split())
        except Exception as error:
            text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            found = {"failed": True, "reason": text[:300]}
        print(json.dumps(found), file=answers, flush=True)


class Worker:
    """A process of ``python -m module --work``, since frameworks take seconds to start; it is ended at a limit."""

    def __init__(self, module: str, seconds: float) -> None:
        self._command = [sys.executable, "-m", module, "--work"]
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, *words: str) -> dict[str, Any]:
        """The answer to a request."""
        process = self._process
        if process is None:
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert process.stdin is not None
        assert process.stdout is not None
        print(*words, file=process.stdin, flush=True)
        ready, _, _ = select.select([process.stdout], [], [], self._seconds)
        line = process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.end()
        return {"failed": True, "reason": "its process ended" if ready else f"took more than {self._seconds:.0f} s"}

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
