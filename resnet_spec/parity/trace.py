"""Traces: files with the results of one backend, to compare another backend with on another machine.

A trace is a safetensors file with the weights, the images, the logits in both precisions and optionally every node's
float64 value; its metadata describe the backend and the machine. A comparison takes the network from the trace; a spec,
if given, must be the same network.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet_spec import __version__
from resnet_spec.backend.registry import backend_names
from resnet_spec.errors import BackendError, GraphError, SpecError, WeightsError, shown
from resnet_spec.errors.validation import invalid_values
from resnet_spec.graph import Graph
from resnet_spec.graph.difference import first_difference
from resnet_spec.parity.bisection import Bisection
from resnet_spec.parity.compare import at_size, loaded_spec, prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.logits import logits_difference
from resnet_spec.parity.process import BackendProcess, Progress, started
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.report import (
    ParityReport,
    logits_size,
    outline_of,
    ratio,
    remark_on,
    standard_deviation,
)
from resnet_spec.parity.rounding import rounding_tolerance
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.atomic import check_target, replacing
from resnet_spec.weights.download import resolve
from resnet_spec.weights.formats.safetensors import read_safetensors, write_safetensors
from resnet_spec.weights.io import FINGERPRINT, GRAPH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType
    from resnet_spec.operations.fields import Shape

    Arrays = Mapping[str, NDArray[Any]]

TRACE = "resnet_spec.trace"
"""The key of a trace's metadata."""

FORMAT = 1

_WEIGHTS, _NODES = "weights/", "nodes/"
_INPUT, _EXACT, _ROUNDED = "input", "logits/float64", "logits/float32"


@dataclass(frozen=True)
class Trace:
    """One run of a network: ``images`` and ``weights``, and what ``source`` computed from them.

    ``exact`` are the logits in float64, ``rounded`` in float32 if they were computed; ``nodes`` are the float64 values
    of all nodes, or empty. ``weights_source`` is the name of the weights' file, or ``random``. ``environment`` holds
    versions and settings that change rounding, ``machine`` the hardware and system.
    """

    graph: Graph
    source: str
    seed: int
    weights_source: str
    images: NDArray[Any]
    weights: Arrays
    exact: NDArray[Any]
    rounded: NDArray[Any] | None = None
    nodes: Arrays = field(default_factory=dict[str, Any])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    machine: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        """The name in reports."""
        return f"{self.source} (trace)"


def record(
    spec: str | Path | Spec,
    backend: str,
    path: Path,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    size: Shape | None = None,
    batch: int = 2,
    nodes: bool = False,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Trace:
    """Run a spec in one backend as ``parity.compare`` would, and write what it computed to ``path``.

    ``nodes`` adds the value of every node, which a bisection needs. If it raises SpecError, WeightsError, OutputError
    or BackendError, nothing is written.
    """
    import numpy as np

    if path.suffix != ".safetensors":
        raise SpecError(f"{path}: a trace's file ends in .safetensors")
    check_target(path, force=force)
    loaded = loaded_spec(spec, overrides, size)
    loaded.to_graph()
    if weights is not None:
        resolve(loaded, weights)
    with (
        TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder,
        started([backend], progress) as (process,),
    ):
        files = Scratch(Path(folder))
        graph, arrays = prepared(process, files, loaded, weights, seed, progress)
        file = files.new("weights.safetensors")
        write_safetensors(file, arrays)
        images = random_images((batch, *graph.input.shape), seed + 1)
        logits: dict[DType, NDArray[Any]] = {}
        for dtype in ("float32", "float64"):
            progress(f"{graph.name}: {dtype}")
            process.load(graph, file, dtype)
            process.forward(images, dtype)
            logits[dtype] = process.outputs()[-1]
        trace = Trace(
            graph=graph,
            source=process.name,
            seed=seed,
            # The folder has no meaning on another machine.
            weights_source=Path(weights).name if weights else "random",
            images=images.astype(np.float32),
            weights=arrays,
            exact=logits["float64"],
            rounded=logits["float32"],
            nodes=_walked(process, graph, images, Path(folder), progress) if nodes else {},
            environment=process.environment,
            machine=machine(),
        )
        with replacing(path, force=force) as temporary:
            write_trace(temporary, trace)
    return trace


def _walked(
    process: BackendProcess, graph: Graph, images: NDArray[Any], folder: Path, progress: Progress
) -> dict[str, NDArray[Any]]:
    """Return every node's value, mapped from files, since all of them may not fit into memory."""
    import numpy as np

    process.begin(images, leading=True, judging=False, seed=0)
    values: dict[str, NDArray[Any]] = {}
    shared: Path | None = None
    for index, node in enumerate(graph.nodes):
        progress(f"{graph.name}: {index} of {len(graph.nodes)} nodes")
        process.step(shared)
        shared = folder / f"{index}.npy"
        np.save(shared, process.named_outputs()["float64"])
        values[node.name] = np.load(shared, mmap_mode="r")
    return values


def machine() -> dict[str, str]:
    """Return the processor, cores, system, C library, and versions of Python and this package."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "python": platform.python_version(),
        "resnet-spec": __version__,
        "byte order": sys.byteorder,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


class _Metadata(BaseModel):
    """A trace's metadata, besides the graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    source: str
    seed: Annotated[int, Field(ge=0)]
    weights: str
    environment: dict[str, str]
    machine: dict[str, str]


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace; values of nodes are copied one at a time."""
    arrays = {_INPUT: trace.images, _EXACT: trace.exact}
    if trace.rounded is not None:
        arrays[_ROUNDED] = trace.rounded
    arrays |= {f"{_WEIGHTS}{name}": array for name, array in trace.weights.items()}
    arrays |= {f"{_NODES}{name}": array for name, array in trace.nodes.items()}
    parsed = _Metadata(
        format=FORMAT,
        source=trace.source,
        seed=trace.seed,
        weights=trace.weights_source,
        environment=dict(trace.environment),
        machine=dict(trace.machine),
    )
    metadata = {
        TRACE: parsed.model_dump_json(),
        GRAPH: trace.graph.to_json(),
        FINGERPRINT: trace.graph.fingerprint,
    }
    write_safetensors(path, arrays, metadata)


def read_trace(path: Path) -> Trace:
    """Read a trace, memory-mapped; raises WeightsError for another kind of file, or an incomplete one."""
    checkpoint = read_safetensors(path)
    metadata, tensors = checkpoint.metadata, checkpoint.tensors
    if TRACE not in metadata:
        raise WeightsError(f"{path}: is not a trace; write one with 'resnet-spec record'")
    parsed = _read_metadata(path, metadata[TRACE])
    try:
        graph = Graph.from_json(metadata.get(GRAPH, ""))
    except (GraphError, RecursionError) as error:
        problem = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: is not a whole trace, its graph cannot be read ({problem})") from None
    if graph.fingerprint != metadata.get(FINGERPRINT):
        raise WeightsError(f"{path}: the trace's graph is not the one its fingerprint names")
    _check_tensors(path, graph, tensors)
    return Trace(
        graph=graph,
        source=parsed.source,
        seed=parsed.seed,
        weights_source=parsed.weights,
        images=tensors[_INPUT],
        weights={parameter.name: tensors[_WEIGHTS + parameter.name] for parameter in graph.parameters()},
        exact=tensors[_EXACT],
        rounded=tensors.get(_ROUNDED),
        nodes={name: tensors[_NODES + name] for name in graph.by_name if _NODES + name in tensors},
        environment=parsed.environment,
        machine=parsed.machine,
    )


def _read_metadata(path: Path, text: str) -> _Metadata:
    parsed: Any = None
    try:
        # Check the format first, since other fields may differ in another format.
        parsed = json.loads(text)
        if isinstance(parsed, dict) and "format" in parsed and parsed["format"] != FORMAT:
            theirs = shown(cast("object", parsed["format"]))
            raise WeightsError(f"{path}: is a trace of format {theirs}; this version reads format {FORMAT}")
        return _Metadata.model_validate(parsed)
    except ValidationError as error:
        first = invalid_values(error, parsed, _Metadata)[0].problem()
        problem = f"{first.path or 'its metadata'}: {first.message}"
    except (ValueError, RecursionError) as error:
        problem = f"its metadata are not JSON: {error}"
    raise WeightsError(f"{path}: is not a whole trace ({problem})")


def _check_tensors(path: Path, graph: Graph, tensors: Arrays) -> None:
    """Check that the file has exactly the tensors of a trace of this graph, with their shapes."""
    images = tensors.get(_INPUT)
    # Without images, report the shapes for one.
    batch = max(1, len(images)) if images is not None and images.ndim else 1
    output = (batch, *graph.by_name[graph.outputs[-1]].shape)
    needed = {_INPUT: (batch, *graph.input.shape), _EXACT: output}
    needed |= {f"{_WEIGHTS}{parameter.name}": parameter.shape for parameter in graph.parameters()}
    optional = {_ROUNDED: output} | {f"{_NODES}{node.name}": (batch, *node.shape) for node in graph.nodes}
    for name in needed:
        if name not in tensors:
            raise WeightsError(f"{path}: is not a whole trace ({name} is missing)")
    for name, tensor in tensors.items():
        shape = (needed | optional).get(name)
        if shape is None:
            raise WeightsError(f"{path}: {name} is in the trace, but not in its graph")
        if tensor.shape != shape:
            raise WeightsError(f"{path}: {name} has shape {list(tensor.shape)} in the trace, not {list(shape)}")
        if tensor.dtype.kind != "f":
            raise WeightsError(f"{path}: {name} holds {tensor.dtype.name} in the trace, not floating-point numbers")


class _Replay:
    """A trace as the reference of a bisection."""

    def __init__(self, trace: Trace) -> None:
        self.name = trace.name
        self._trace = trace
        self._nodes = iter(trace.graph.nodes)
        self._last = ""

    def load(self, graph: Graph, weights: Path, *dtypes: DType) -> None:
        """Do nothing: the trace has its own network."""

    def begin(self, images: NDArray[Any], *, leading: bool, judging: bool, seed: int) -> None:
        """Begin at the first node."""
        self._nodes = iter(self._trace.graph.nodes)

    def step(self, shared: Path | None) -> None:
        """Go to the next node."""
        self._last = next(self._nodes).name

    def named_outputs(self) -> dict[str, NDArray[Any]]:
        """Return the node's recorded value."""
        return {"float64": self._trace.nodes[self._last]}


def compare_with_trace(
    path: Path,
    backend: str,
    *,
    spec: str | Path | None = None,
    overrides: Overrides | None = None,
    bisect: bool = False,
    progress: Progress = lambda step: None,
) -> ParityReport:
    """Run a trace's network in a backend, and compare the results with the recorded ones.

    ``spec``, if given, must be the trace's network. The trace's float64 is the reference; in float32 each side is
    compared with its own float64. Hypotheses are computed in another backend, if one is installed. Raises WeightsError
    for a trace of another graph, or one without the nodes that ``bisect`` needs, and BackendError if the backend cannot
    run.
    """
    import numpy as np

    trace = read_trace(path)
    graph, images = trace.graph, trace.images.astype(np.float64)
    if spec is not None:
        _check_same(path, trace, spec, overrides)
    if bisect and len(trace.nodes) < len(graph.nodes):
        raise WeightsError(f"{path}: the trace lacks the nodes' values; record it with 'resnet-spec record --nodes'")
    with (
        TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder,
        started([backend], progress) as (process,),
    ):
        files = Scratch(Path(folder))
        weights = files.new("weights.safetensors")
        write_safetensors(weights, trace.weights)
        progress(f"{graph.name}: float64")
        process.load(graph, weights, "float64")
        process.forward(images, "float64")
        exact = process.outputs()[-1]
        progress(f"{graph.name}: estimating float32 rounding error")
        error = process.rounding_error(images, trace.seed, exact)
        progress(f"{graph.name}: float32")
        process.load(graph, weights)
        process.forward(images)
        rounded = process.outputs()[-1]
        nodes, findings = (), ()
        if bisect:
            with ExitStack() as stack:
                witness = cache(lambda: _witness(trace, process, stack, progress))
                bisection = Bisection(_Replay(trace), [process], files, progress, explaining=witness)
                nodes, findings = bisection.run(graph, weights, trace.weights, images, trace.seed, error.float64)
        environment = {
            process.name: process.environment | machine(),
            trace.name: {**trace.environment, **trace.machine},
        }
    size = logits_size(trace.exact)
    differences = [
        logits_difference("float64", process.name, trace.name, exact, trace.exact, size, error),
        logits_difference("float32", process.name, f"{process.name} float64", rounded, exact, size, error),
    ]
    if trace.rounded is not None:
        recorded = f"{trace.name} float64"
        differences.append(logits_difference("float32", trace.name, recorded, trace.rounded, trace.exact, size, error))
    return ParityReport(
        spec=graph.name,
        fingerprint=graph.fingerprint,
        size=graph.input.shape[1:] or graph.input.shape,
        batch=len(images),
        weights=trace.weights_source,
        seed=trace.seed,
        deviation=standard_deviation(trace.exact),
        rounding_tolerance=ratio(rounding_tolerance(error.float32), size),
        differences=tuple(differences),
        environment=environment,
        nodes=nodes,
        findings=findings,
        outline=outline_of(graph, nodes),
        remark="" if nodes else remark_on(trace.exact),
    )


def _witness(trace: Trace, judged: BackendProcess, stack: ExitStack, progress: Progress) -> BackendProcess | None:
    """Return another backend, to compute hypotheses in: the trace's own if it is installed, or any other."""
    names = [name for name in backend_names() if name != judged.name]
    for name in sorted(names, key=lambda name: name != trace.source):
        # A backend whose framework is missing cannot start.
        with suppress(BackendError):
            return stack.enter_context(started([name], progress))[0]
    return None


def _check_same(path: Path, trace: Trace, spec: str | Path, overrides: Overrides | None) -> None:
    size = trace.graph.input.shape[1:]
    whole = load(spec, at_size(overrides, size or None)).to_graph()
    graph = whole.with_outputs([*whole.outputs[:-1], whole.logits])
    if graph.fingerprint != trace.graph.fingerprint:
        where = first_difference(trace.graph, graph, ("the trace", "the spec"))
        raise WeightsError(f"{path}: is a trace of another network ({trace.graph.name}, not {graph.name}): {where}")
