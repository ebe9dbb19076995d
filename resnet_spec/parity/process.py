"""The other end of ``worker``: starts a backend's process, asks it, and tells a death from an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.optimizers import Optimizer, to_data
from resnet_spec.backend.protocol import DType
from resnet_spec.backend.registry import find
from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec.parity.exchange import leave, left

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.parity.training import Plan


Progress = Callable[[str], None]
"""Is told what is being done."""


@contextmanager
def started(names: Sequence[str], progress: Progress = lambda step: None) -> Generator[list[BackendProcess]]:
    """Backends in processes of their own, started at once and ready."""
    with ExitStack() as stack:
        processes = [stack.enter_context(BackendProcess(name)) for name in names]
        progress(f"starting {' and '.join(process.name for process in processes)}")
        for process in processes:
            process.ready()
        yield processes


class BackendProcess:
    """A backend running in a process of its own, which ends with the ``with`` block.

    ``load``, ``forward`` and the others only ask, and what looks at results waits, so that two backends can work at
    once. Raises
    BackendError where the process cannot start, answers with an error, or dies.
    """

    def __init__(self, name: str) -> None:
        self.name = find(name).name
        self.environment: dict[str, str] = {}
        self.running_variance = ""
        self._pending = 0
        self._handed: set[str] = set()
        self._numbers = count()

    def __enter__(self) -> BackendProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="resnet-spec-")
        self._errors = tempfile.TemporaryFile("w+")
        # -P: a torch.py in the user's folder must not stand in for the framework.
        command = [sys.executable, "-P", "-m", "resnet_spec.parity.worker", self.name]
        # On the processor, whatever the machine has: an accelerator may round to TF32 without a word.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def ready(self) -> None:
        """Wait until the framework is imported."""
        answer = self._answer()
        self.environment, self.running_variance = answer["environment"], answer["running_variance"]

    def load(self, graph: Graph, weights: Path, *dtypes: DType, exact_statistics: bool = False) -> None:
        """Ask for models with the weights of a safetensors file, one a precision (float32 unless stated)."""
        # A file of its own, since the last request's may not have been read yet.
        path = self._path(f"graph{next(self._numbers)}.json")
        path.write_text(graph.to_json())
        wanted = dtypes or ("float32",)
        self._ask("load", graph=str(path), weights=str(weights), dtypes=wanted, exact_statistics=exact_statistics)

    def forward(self, images: NDArray[Any], dtype: DType | None = None, *, training: bool = False) -> None:
        """Ask for one pass over ``images`` (batch, channels, height, width).

        In the first precision that was loaded, unless one is stated.
        """
        self._ask_with_files("forward", {"images": images}, dtype=dtype, training=training)

    def jitter(self, images: NDArray[Any], seed: int, draws: int) -> None:
        """Ask for the last output in float64 as float32's rounding may move it, ``draws`` times."""
        self._ask_with_files("jitter", {"images": images}, seed=seed, draws=draws)

    def gradients(self, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> None:
        """Ask for the gradients in float64; see ``Backend.gradients``."""
        numbered = {f"targets{index}": array for index, array in enumerate(targets)}
        self._ask_with_files("gradients", {"images": images} | numbered)

    def train(self, optimizer: Optimizer, plan: Plan, draw: int | None = None) -> None:
        """Ask for training steps in float64, disturbed at random with a ``draw``; see ``training``."""
        self._ask_with_files("train", {}, optimizer=to_data(optimizer), plan=plan._asdict(), draw=draw)

    def begin(self, images: NDArray[Any], *, leading: bool, judging: bool, seed: int) -> None:
        """Ask to begin a walk over the nodes, whose shared values are this backend's own if it is ``leading``.

        ``judging`` asks for what rounding may do to each, too.
        """
        self._ask_with_files("begin", {"images": images}, leading=leading, judging=judging, seed=seed)

    def step(self, shared: Path | None) -> None:
        """Ask for the walk's next node, given the last node's shared value."""
        self._ask_with_files("step", {}, shared=str(shared) if shared else None)

    def inspect(self, node: str, inputs: Sequence[NDArray[Any]]) -> None:
        """Ask for a node's value in float32, and in float64 from what float32 holds of its inputs."""
        path = self._path("inputs")
        leave(path, dict(enumerate(inputs)))
        self._ask_with_files("inspect", {}, node=node, inputs=str(path))

    def wait(self) -> dict[str, Any]:
        """Wait until everything asked for is done; the last answer. Raises the first error of a request."""
        answer: dict[str, Any] = {}
        failed: BackendError | None = None
        self._handed.clear()
        while self._pending:
            self._pending -= 1
            try:
                answer = self._answer()
            except BackendError as error:
                failed = failed or error
                if self._process.poll() is not None:
                    break
        if failed is not None:
            raise failed
        return answer

    def outputs(self) -> list[NDArray[np.floating[Any]]]:
        """Wait; the arrays that the last request left, in order."""
        return [*self.named_outputs().values()]

    def named_outputs(self) -> dict[str, NDArray[np.floating[Any]]]:
        """Wait; the arrays that the last request left, by name."""
        self.wait()
        return left(self._path("result"))

    def gradients_found(self) -> tuple[float, dict[str, NDArray[Any]]]:
        """Wait; the loss and the gradients, the images' as ``input``."""
        loss: float = self.wait()["loss"]
        return loss, self._arrays("gradients.safetensors")

    def arrays_after(self) -> dict[str, NDArray[Any]]:
        """Wait; the arrays after a pass in training mode, after gradients or training steps."""
        self.wait()
        return self._arrays("after.safetensors")

    def _arrays(self, name: str) -> dict[str, NDArray[Any]]:
        from resnet_spec.weights.formats.safetensors import read_safetensors

        # Copies, since the tensors are the file's, which the next request writes anew.
        return {key: value.copy() for key, value in read_safetensors(self._path(name)).tensors.items()}

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _ask_with_files(self, command: str, arrays: dict[str, NDArray[Any]], **request: Any) -> None:
        import numpy as np

        if self._handed & arrays.keys():
            # Of a request that may not have been read yet.
            self.wait()
        self._handed |= arrays.keys()
        for name, array in arrays.items():
            np.save(self._path(f"{name}.npy"), array)
        paths = {name: str(self._path(f"{name}.npy")) for name in arrays}
        paths |= {"result": str(self._path("result")), "after": str(self._path("after.safetensors"))}
        paths |= {"gradients": str(self._path("gradients.safetensors"))}
        self._ask(command, **paths, **request)

    def _ask(self, command: str, **request: Any) -> None:
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.write(json.dumps({"command": command, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendError(self._death()) from None
        self._pending += 1

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise BackendError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(f"the {self.name} backend failed: {answer['error']}")
        return answer

    def _death(self) -> str:
        """How the process ended, with the last thing it said."""
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()[-1:]
        if status < 0:
            name = signal.Signals(-status).name
            how = f"was killed by {name}" + (" (the system may be out of memory)" if name == "SIGKILL" else "")
        else:
            how = f"ended with status {status}"
        return f"the {self.name} backend's process {how}" + (f": {said[0]}" if said else "")
