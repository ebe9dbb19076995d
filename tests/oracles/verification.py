"""Compare one network with its original: the original's output from its own process, both backends' from its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph, summarize
from resnet_spec.backend.protocol import DType
from resnet_spec.errors import GraphError
from resnet_spec.operations.fields import as_text
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.rounding import RoundingError, rounding_tolerance, structure_tolerance
from tests.shipped import shipped

from .gates import GATES, ILL_CONDITIONED
from .original import DTYPES, images, key

RECORDS = Path(__file__).parent / "records"
ROOT = Path(__file__).parents[2]

LIBRARIES = {
    "cifar": "papers",
    "faces": "papers",
    "image_classifiers": "image_classifiers",
    "keras": "keras",
    "keras_hub": "keras_hub",
    "mirror": "mirror",
    "monai": "monai",
    "msra": "papers",
    "pytorchcv": "pytorchcv",
    "signals": "papers",
    "simclr": "papers",
    "slim": "slim",
    "smp": "smp",
    "swav": "papers",
    "timm": "timm",
    "torchvision": "torchvision",
    "tutorial": "tutorial",
}
"""The module in ``originals`` that builds the networks of each family."""

THINNER = {f"mirror/decoder{depth}": ("parameters.filters=512",) for depth in (18, 34, 152)}
"""Overrides for the networks that 24 GiB do not hold: TensorFlow 1 keeps what a training batch has computed."""

NAMES = ("torch", "tensorflow")
BOTH = "torch, tensorflow"
"""In a record: the two backends against each other."""

LARGE = 2 * 10**8
"""Parameters beyond which two backends' models are not held in memory at once."""

COSTLY = 3 * 10**10
"""Multiply-accumulates of an image beyond which a network is compared at an even and an odd size, one image each."""

# Even at the stem and odd at each stage after it, odd at the stem: where `same` and symmetric padding differ.
SIZES = ((224, 1), (150, 2), (199, 1))
SMALLER = ((96, 1), (75, 2))
"""For a comparison that repeats a recorded one: the same layers see even and odd sizes."""


class VerificationError(AssertionError):
    """A network does not compute what its original computes."""


@dataclass(frozen=True)
class Record:
    """The result: the largest errors in standard deviations of the original's float64 logits, over all sizes."""

    spec: str
    fingerprint: str
    original: str
    files: tuple[str, ...]
    sizes: tuple[str, ...]
    refused: tuple[str, ...]
    parameters: int
    errors: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    overrides: tuple[str, ...] = ()
    bounds: dict[DType, float] = field(default_factory=dict["DType", float])
    """The limits of an ill-conditioned network."""

    @property
    def gates(self) -> dict[DType, float]:
        """The limits of the errors."""
        return GATES | self.bounds

    @property
    def path(self) -> Path:
        """The path of the record."""
        return RECORDS / f"{self.spec}.json"

    def write(self) -> None:
        """Write the record atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        temporary.replace(self.path)


def recorded(spec: str) -> Record | None:
    """The record of a spec, if there is one."""
    path = RECORDS / f"{spec}.json"
    if not path.exists():
        return None
    data: dict[str, Any] = json.loads(path.read_text())
    return Record(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def is_current(spec: str) -> bool:
    """Whether a record was made for the spec as it is now."""
    record = recorded(spec)
    return record is not None and record.fingerprint == shipped(spec).fingerprint


def plan_for(graph: Graph, *, again: bool = False) -> list[tuple[int, ...]]:
    """The sizes of positions at which a network is compared, such as height and width, and the batch of each.

    They are smaller if a recorded comparison is made ``again``.
    """
    _, *own = graph.input.shape
    if not own or graph.depends_on_size:
        return [(*own, 2)]
    if len(own) != 2:
        # Volumes of a video are large: of the spec's own size every second position is enough.
        least = [size // 2 if size > 64 or (again and size > 16) else size for size in own]
        return [(*least, 2), (*(size + 1 for size in least), 1)]
    height, width = own
    if max(height, width) <= 64:
        return [(height, width, 2), (height + 6, width + 6, 1), (height + 1, width + 1, 1)]
    if again:
        return [(size, size, batch) for size, batch in SMALLER]
    if summarize(graph).macs > COSTLY and any(_runs(graph, size, size) for size, _ in SIZES[1:]):
        return [(size, size, 1) for size, _ in SIZES[1:]]
    return [(size, size, batch) for size, batch in SIZES]


def _runs(graph: Graph, *sizes: int) -> bool:
    try:
        graph.at_size(*sizes)
    except GraphError:
        return False
    return True


class Backends:
    """Both backends, each in its own process, started on first use."""

    def __init__(self) -> None:
        self._processes: dict[str, BackendProcess] = {}

    def __enter__(self) -> Backends:
        return self

    def __exit__(self, *exception: object) -> None:
        for name in NAMES:
            self.end(name)

    def process(self, name: str) -> BackendProcess:
        """The running backend of this name."""
        if name not in self._processes:
            process = BackendProcess(name).__enter__()
            self._processes[name] = process
            process.ready()
        return self._processes[name]

    def end(self, name: str) -> None:
        """End a backend's process and release its memory."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.__exit__(None, None, None)


def verify(spec: str, backends: Backends, overrides: tuple[str, ...] = (), *, again: bool = False) -> Record:
    """Compare one network; raises VerificationError if an error exceeds its gate, or a count or a size differs.

    What is recorded already is compared ``again`` at smaller sizes.
    """
    graph = resnet_spec.load(spec, overrides).to_graph()
    plan = plan_for(graph, again=again)
    with TemporaryDirectory(prefix="oracle-") as name:
        folder = Path(name)
        said, wanted, weights = run_original(graph, plan, folder)
        counted = summarize(graph).parameters
        if said["parameters"] != counted:
            raise VerificationError(f"{spec}: {counted:,} parameters, {said['parameters']:,} in {said['version']}")
        sizes = [size for size in plan if key("float64", size) in wanted]
        refused = [size for size in plan if size not in sizes]
        for size in refused:
            _assert_refused(graph, size)
        if not sizes:
            raise VerificationError(f"{spec}: the original ran at no size: {said['refused']}")
        errors = _errors(graph, weights, sizes, wanted, backends)
        bounds = _bounds(graph, weights, sizes, wanted, backends) if spec in ILL_CONDITIONED else {}
    record = Record(
        spec=spec,
        fingerprint=shipped(spec).fingerprint,
        original=said["version"],
        files=tuple(_form(Path(path)) for path in said["files"]),
        sizes=tuple(_size_text(graph, size) for size in sizes),
        refused=tuple(_size_text(graph, size) for size in refused),
        parameters=counted,
        errors=errors,
        overrides=overrides,
        bounds=bounds,
    )
    for backend, found in errors.items():
        for dtype, error in found.items():
            if not error < record.gates[dtype]:  # type: ignore[index]
                raise VerificationError(f"{spec}: {backend} {dtype} differs by {error:.1e} × std")
    return record


def run_original(
    graph: Graph, plan: list[tuple[int, ...]], folder: Path
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], Path]:
    """What the original says of itself, its logits, and a file of what was read from its files."""
    (folder / "graph.json").write_text(graph.to_json())
    (folder / "plan.json").write_text(json.dumps(plan))
    python("tests.oracles.original", LIBRARIES[graph.name.partition("/")[0]], folder)
    with np.load(folder / "logits.npz") as logits:
        return json.loads((folder / "said.json").read_text()), dict(logits), folder / "read.safetensors"


def python(module: str, *arguments: Path | str) -> None:
    """Run a module of the tests in a process of its own, without a GPU."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VerificationError(f"{' '.join(command[2:])}: status {done.returncode}\n{done.stderr[-3000:]}")


def _errors(
    graph: Graph,
    weights: Path,
    sizes: list[tuple[int, ...]],
    wanted: dict[str, NDArray[Any]],
    backends: Backends,
) -> dict[str, dict[str, float]]:
    """The largest relative error of each backend against the original, and of the backends against each other."""
    deviation = _deviation(wanted, sizes)
    compared = graph.with_outputs([graph.logits])
    results: dict[tuple[str, str], list[NDArray[Any]]] = {}
    for name in NAMES:
        for dtype in DTYPES:
            results[name, dtype] = _logits(backends.process(name), compared, weights, dtype, sizes)
        if summarize(graph).parameters > LARGE:
            backends.end(name)
    errors: dict[str, dict[str, float]] = {name: {} for name in (*NAMES, BOTH)}
    for dtype in DTYPES:
        originals = [wanted[key(dtype, size)] for size in sizes]
        for name in NAMES:
            errors[name][dtype] = _largest(results[name, dtype], originals) / deviation
        errors[BOTH][dtype] = _largest(results[NAMES[0], dtype], results[NAMES[1], dtype]) / deviation
    return errors


def _bounds(
    graph: Graph,
    weights: Path,
    sizes: list[tuple[int, ...]],
    wanted: dict[str, NDArray[Any]],
    backends: Backends,
) -> dict[DType, float]:
    """The rounding tolerances of the size where they are largest, in the same unit as the errors.

    That of float32 is one result's against the exact one, so that a difference of two float32 results might be twice
    as large; correct ones are far below it.
    """
    process = backends.process(NAMES[0])
    process.load(graph.with_outputs([graph.logits]), weights, "float64")
    deviation = _deviation(wanted, sizes)
    errors: list[RoundingError] = []
    for size in sizes:
        exact = wanted[key("float64", size)]
        errors.append(process.rounding_error(_images(graph, size), 0, exact))
    return {
        "float64": max(structure_tolerance(deviation, error.float64) for error in errors) / deviation,
        "float32": max(rounding_tolerance(error.float32) for error in errors) / deviation,
    }


def _deviation(wanted: dict[str, NDArray[Any]], sizes: list[tuple[int, ...]]) -> float:
    return float(np.concatenate([wanted[key("float64", size)].ravel() for size in sizes]).std())


def _images(graph: Graph, size: tuple[int, ...]) -> NDArray[np.float64]:
    *positions, batch = size
    return images((batch, graph.input.shape[0], *positions))


def _logits(
    process: BackendProcess, graph: Graph, weights: Path, dtype: str, sizes: list[tuple[int, ...]]
) -> list[NDArray[Any]]:
    process.load(graph, weights, dtype)  # type: ignore[arg-type]
    results: list[NDArray[Any]] = []
    for size in sizes:
        process.forward(_images(graph, size))
        results.append(process.outputs()[-1])
    return results


def _largest(results: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> float:
    largest = 0.0
    for ours, theirs in zip(results, wanted, strict=True):
        if ours.shape != theirs.shape:
            raise VerificationError(f"logits of shape {ours.shape} where the original has {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
        # Not max(): that loses NaN.
        largest = float(np.maximum(largest, difference))
    return largest


def _assert_refused(graph: Graph, size: tuple[int, ...]) -> None:
    if _runs(graph, *size[:-1]):
        raise VerificationError(f"{graph.name}: the original does not run at {as_text(size[:-1])}, ours would")


def _size_text(graph: Graph, size: tuple[int, ...]) -> str:
    *positions, batch = size
    return as_text((batch, *(positions or graph.input.shape)))


def _form(path: Path) -> str:
    """A file's name in the record: its ending, or ``checkpoint`` for TensorFlow's prefix."""
    return "".join(path.suffixes[-2:]) if path.suffixes[-2:-1] == [".weights"] else path.suffix or "checkpoint"
