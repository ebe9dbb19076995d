"""Run a backend in a process of its own: start ``worker``, send it requests, and report errors and crashes.

``WorkerProcess`` is what any such process has; ``source_process`` runs a model of another library in one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from resnet_spec.backend.optimizers import Optimizer, to_data
from resnet_spec.backend.registry import find
from resnet_spec.errors import BackendError, ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.exchange import load_arrays, save_arrays
from resnet_spec.parity.optimized_nodes import Judged
from resnet_spec.parity.plan import Plan
from resnet_spec.parity.quantized_nodes import JudgedCodes
from resnet_spec.parity.report import largest_difference, logits_size
from resnet_spec.parity.rounding import LINEAR, UNIT, Noise, RoundingError, draws_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.parity.report import Difference


Progress = Callable[[str], None]
"""A function that is called with a description of each step."""


@contextmanager
def started(
    names: Sequence[str], progress: Progress = lambda step: None, replicas: int | None = None
) -> Generator[list[BackendProcess]]:
    """Start backends in processes of their own, all at once, and yield them when they are ready.

    With ``replicas``, each backend's follow the backends; nothing but training is asked of them.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(BackendProcess(name)) for name in names]
        if replicas is not None:
            processes += [stack.enter_context(BackendProcess(name, replicas)) for name in names]
        progress(f"starting {' and '.join(process.name for process in processes)}")
        for process in processes:
            process.ready()
        yield processes


class WorkerProcess:
    """A process that answers requests, which ends with the ``with`` block; ``subject`` is what messages call it.

    It runs a module with arguments. If ``seconds`` pass without an answer, the process is killed.
    """

    def __init__(self, subject: str, module: str, *arguments: str, seconds: float | None = None) -> None:
        self.subject = subject
        self._command = (module, *arguments)
        self._seconds = seconds
        self._expired = False
        self._pending = 0
        self._numbers = count()
        self._requested: list[Path] = []

    def __enter__(self) -> Self:
        # On Windows a killed worker may keep a file open for a moment.
        self._folder = tempfile.TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True)
        self._start()
        return self

    def _start(self) -> None:
        # Binary, since a C library may write any encoding.
        self._errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - _end closes it
        # -P: a torch.py in the user's folder must not stand in for the framework.
        command = [sys.executable, "-P", "-m", *self._command]
        # Always on the CPU: an accelerator may round to TF32 silently.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        self._process.kill()
        # The pipe to a dead process may hold unwritten requests.
        with suppress(OSError):
            self._process.communicate()
        self._errors.close()
        self._pending = 0

    def wait(self) -> dict[str, Any]:
        """Wait until all requests are done, and return the last answer; raises the first error of a request."""
        answer: dict[str, Any] = {}
        failed: ResnetSpecError | None = None
        while self._pending:
            self._pending -= 1
            try:
                answer = self._answer()
            except ResnetSpecError as error:
                failed = failed or error
                if self._process.poll() is not None:
                    break
        for path in self._requested:
            path.unlink(missing_ok=True)
        self._requested.clear()
        if failed is not None:
            raise failed
        return answer

    def outputs(self) -> list[NDArray[np.floating[Any]]]:
        """Wait, and return the arrays that the last request saved, in order."""
        return [*self.named_outputs().values()]

    def named_outputs(self) -> dict[str, NDArray[np.floating[Any]]]:
        """Wait, and return the arrays that the last request saved, by name."""
        self.wait()
        return load_arrays(self._path("result"))

    def _new(self, name: str) -> Path:
        """Return a new path for a request's file, which is deleted once the request is answered."""
        path = self._path(f"{next(self._numbers)}-{name}")
        self._requested.append(path)
        return path

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _ask_with_files(self, command: str, arrays: dict[str, NDArray[Any]], **request: Any) -> None:
        import numpy as np

        paths = {name: self._new(f"{name}.npy") for name in arrays}
        for name, array in arrays.items():
            np.save(paths[name], array)
        paths |= {name: self._path(name) for name in ("result", "after", "gradients")}
        self._ask(command, **{name: str(path) for name, path in paths.items()}, **request)

    def ask_about(self, images: Path, command: str, **request: Any) -> None:
        """Ask for outputs for images in a file, which must stay until they are read; commands differ in their name."""
        self._ask(command, images=str(images), result=str(self._path("result")), **request)

    def _ask(self, command: str, **request: Any) -> None:
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.write(json.dumps({"command": command, **request}) + "\n")
            self._process.stdin.flush()
        except OSError:
            # A broken pipe, or on Windows an invalid argument.
            raise BackendError(self._death()) from None
        self._pending += 1

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        timer = None if self._seconds is None else threading.Timer(self._seconds, self._expire)
        if timer is not None:
            timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            # Also after Ctrl-C, or the timer's thread would keep this process until it expires.
            if timer is not None:
                timer.cancel()
        if not line:
            raise BackendError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failure(answer)
        return answer

    def _failure(self, answer: Mapping[str, Any]) -> ResnetSpecError:
        """Return the error that an answer states."""
        return BackendError(f"{self.subject} failed: {answer['error']}")

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _death(self) -> str:
        """Return how the process ended, with the last line it wrote to standard error."""
        status = self._process.wait()
        if self._expired:
            return f"{self.subject} did not answer within {self._seconds:g} s, and was ended"
        self._errors.seek(0)
        last_line = self._errors.read().decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
        if status < 0:
            name = _signal(-status)
            how = f"was killed by {name}" + (" (the system may be out of memory)" if name == "SIGKILL" else "")
        else:
            how = f"ended with status {status}"
        return f"{self.subject}'s process {how}" + (f": {last_line[0]}" if last_line else "")


class BackendProcess(WorkerProcess):
    """A backend running in a process of its own, which ends with the ``with`` block.

    ``load``, ``forward`` and the others send a request, and reading results waits for the answer, so that two backends
    can work at once. Raises BackendError if the process cannot start, answers with an error, or dies; ``recover``
    makes it ready again.
    """

    def __init__(self, name: str, replicas: int | None = None) -> None:
        backend = find(name).name
        self.name = backend if replicas is None else f"{backend} ×{replicas}"
        arguments = [] if replicas is None else [str(replicas)]
        super().__init__(f"the {backend} backend", "resnet_spec.parity.worker", backend, *arguments)
        self.environment: dict[str, str] = {}
        self.running_variance = ""
        self._weights = Path()
        self._quantization: Path | None = None

    def recover(self) -> None:
        """Make the process ready for new requests after an error: restart it if it died, else finish its requests.

        Raises BackendError if it cannot start.
        """
        if self._process.poll() is None:
            with suppress(BackendError):
                self.wait()
        if self._process.poll() is not None:
            self._end()
            self._start()
            self.ready()

    def ready(self) -> None:
        """Wait until the framework is imported."""
        answer = self._answer()
        self.environment, self.running_variance = answer["environment"], answer["running_variance"]

    def load(
        self,
        graph: Graph,
        weights: Path,
        *dtypes: ModelDType,
        exact_statistics: bool = False,
        optimize: bool = False,
        passes: int | None = None,
        quantization: Path | None = None,
    ) -> None:
        """Ask for models with the weights of a safetensors file, one for each precision (by default float32).

        With ``optimize`` they are of the optimized form, with ``passes`` by the first of the passes only. With a file
        of ``quantization`` they are 8-bit; the graph is then the optimized one.
        """
        path = self._new("graph.json")
        path.write_text(graph.to_json(), "utf-8")
        wanted = dtypes or ("float32",)
        self._weights = weights
        self._ask(
            "load",
            graph=str(path),
            weights=str(weights),
            dtypes=wanted,
            exact_statistics=exact_statistics,
            optimize=optimize,
            passes=passes,
            quantization=str(quantization) if quantization else None,
        )
        self._quantization = quantization

    def forward(self, images: NDArray[Any], dtype: ModelDType | None = None, *, training: bool = False) -> None:
        """Ask for one pass over ``images`` (batch, channels, height, width).

        Without ``dtype``, in the first precision that was loaded.
        """
        self._ask_with_files("forward", {"images": images}, dtype=dtype, training=training)

    def rounding_error(self, images: NDArray[Any], seed: int, exact: NDArray[Any]) -> RoundingError:
        """Wait, and return the estimated effects of rounding on the last output, which is ``exact`` in float64.

        The float64 model must be loaded.
        """
        error = self.effect(Noise.of("float32"), images, seed, exact)
        # In proportion to the noise where it is small; not so where it is NaN, or as large as the output.
        if error <= LINEAR * logits_size(exact):
            return RoundingError(error, error)
        # Relative to the nodes without noise: a model that connects them otherwise differs from them by a mistake.
        (still,) = self._moved(Noise(0.0, 0.0), images, seed, 1)
        of_float64 = self.effect(Noise.of("float64"), images, seed, still)
        return RoundingError(error, of_float64 * UNIT["float32"] / UNIT["float64"])

    def effect(self, noise: Noise, images: NDArray[Any], seed: int, exact: NDArray[Any]) -> float:
        """Wait, and return how far rounding noise moves the last output, which is ``exact`` without it.

        The float64 model must be loaded.
        """
        outputs = self._moved(noise, images, seed, draws_for(exact.size))
        return max(largest_difference(output, exact) for output in outputs)

    def _moved(self, noise: Noise, images: NDArray[Any], seed: int, draws: int) -> list[NDArray[Any]]:
        self._ask_with_files("perturbed", {"images": images}, seed=seed, draws=draws, noise=noise)
        return self.outputs()

    def optimized_nodes(self, images: NDArray[Any], seed: int) -> list[Difference]:
        """Wait, and return the differences of each node of the optimized form, loaded in both precisions."""
        self._ask_with_files("optimized_nodes", {"images": images}, seed=seed, weights=str(self._weights))
        judged = [Judged(*node) for node in self.wait()["nodes"]]
        return [difference for node in judged for difference in node.differences(self.name)]

    def integers(self, images: NDArray[Any], quantization: Path, seed: int, draws: int) -> None:
        """Ask for the last output of the 8-bit network computed exactly, and ``draws`` times with its codes moved.

        The float64 model of the optimized graph must be loaded.
        """
        request = {"quantization": str(quantization), "weights": str(self._weights), "seed": seed, "draws": draws}
        self._ask_with_files("integers", {"images": images}, **request)

    def quantized_nodes(self, images: NDArray[Any]) -> list[JudgedCodes]:
        """Wait, and return the judgment of each node of the 8-bit model that is loaded."""
        request = {"quantization": str(self._quantization), "weights": str(self._weights)}
        self._ask_with_files("quantized_nodes", {"images": images}, **request)
        return [JudgedCodes(*node) for node in self.wait()["nodes"]]

    def gradients(self, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> None:
        """Ask for the gradients in float64; see ``Backend.gradients``."""
        numbered = {f"targets{index}": array for index, array in enumerate(targets)}
        self._ask_with_files("gradients", {"images": images} | numbered, plan=None, dtype="float64")

    def first_gradients(self, plan: Plan, dtype: ModelDType = "float64", draw: int | None = None) -> None:
        """Ask for the gradients of a plan's first batch, with rounding noise if there is a ``draw``."""
        self._ask_with_files("gradients", {}, plan=plan._replace(steps=1)._asdict(), dtype=dtype, draw=draw)

    def train(self, optimizer: Optimizer, plan: Plan, dtype: ModelDType = "float64", draw: int | None = None) -> None:
        """Ask for training steps, with rounding noise if there is a ``draw``; see ``training``."""
        request = {"optimizer": to_data(optimizer), "plan": plan._asdict(), "dtype": dtype, "draw": draw}
        self._ask_with_files("train", {}, **request)

    def begin(self, images: NDArray[Any], *, leading: bool, judging: bool, seed: int) -> None:
        """Ask to begin a walk over the nodes, whose shared values are this backend's own if it is ``leading``.

        ``judging`` also asks for the rounding error of each node.
        """
        self._ask_with_files("begin", {"images": images}, leading=leading, judging=judging, seed=seed)

    def step(self, shared: Path | None) -> None:
        """Ask for the walk's next node, given the last node's shared value."""
        self._ask_with_files("step", {}, shared=str(shared) if shared else None)

    def inspect(self, node: str, inputs: Sequence[NDArray[Any]]) -> None:
        """Ask for a node's value in float32 and in float64, from its inputs rounded to float32."""
        path = self._path("inputs")
        self.wait()
        save_arrays(path, dict(enumerate(inputs)))
        self._ask_with_files("inspect", {}, node=node, inputs=str(path))

    def gradients_found(self) -> tuple[float, dict[str, NDArray[Any]]]:
        """Wait, and return the loss and the gradients; the images' gradient is called ``input``."""
        loss: float = self.wait()["loss"]
        return loss, load_arrays(self._path("gradients"))

    def arrays_after(self) -> dict[str, NDArray[Any]]:
        """Wait, and return the arrays after a pass in training mode, after gradients or training steps."""
        self.wait()
        return load_arrays(self._path("after"))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have no names.
        return f"signal {number}"
