"""The process of one backend, so that two frameworks never share a process; arrays are exchanged in files.

Run as ``python -m resnet_spec.parity.worker BACKEND [REPLICAS]``. A request is a line of JSON on standard input, and an
answer a line on standard output, both in ASCII; what a framework prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from resnet_spec.backend.dtypes import ModelDType
from resnet_spec.backend.optimizing import Forms, finish, optimized
from resnet_spec.backend.protocol import Backend
from resnet_spec.backend.quantizing import quantizing
from resnet_spec.backend.registry import get_backend, prepare_process
from resnet_spec.backend.replicas import replicas
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.exchange import load_arrays, save_arrays
from resnet_spec.parity.rounding import Noise
from resnet_spec.quantization import Quantization
from resnet_spec.weights.formats.safetensors import read_safetensors

if TYPE_CHECKING:
    import io

    from resnet_spec.backend.protocol import Batch
    from resnet_spec.parity.walk import Walk


class _Worker:
    """The backend and its current models: of one graph, in one precision or both."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.models: dict[Any, Any] = {}
        self.compiled: object = None
        self.graph: Graph
        self.forms: Forms
        self.walk: Walk

    def load(self, request: Mapping[str, Any]) -> None:
        """Compile a graph, unless the current models are of it, and load its weights."""
        graph = Path(request["graph"]).read_bytes()
        exact: bool = request["exact_statistics"]
        quantization = Quantization.read(request["quantization"]) if request["quantization"] else None
        wanted = graph, request["dtypes"], exact, request["optimize"], request["passes"], quantization
        if wanted != self.compiled:
            # Free the models before compiling the next ones.
            self.models = {}
            self.compiled = None
            plain = Graph.from_json(graph)
            optimize = request["optimize"]
            self.forms = optimized(self.backend, plain, request["passes"]) if optimize else Forms.unchanged(plain)
            self.graph = self.forms.graphs[-1]
        for dtype in request["dtypes"]:
            weights = read_safetensors(Path(request["weights"])).tensors
            computed = self.forms.rewriting.arrays(weights) if request["optimize"] else weights
            arrays = {name: array.astype(_given(dtype), copy=False) for name, array in computed.items()}
            if wanted != self.compiled and quantization is not None:
                self.models[dtype] = quantizing(self.backend).compile_quantized(self.graph, quantization, dtype=dtype)
            elif wanted != self.compiled:
                self.models[dtype] = self.backend.compile(self.graph, dtype=dtype, exact_statistics=exact)
            self.backend.load(self.models[dtype], self.graph, arrays)
            if request["optimize"]:
                finish(self.backend, self.models[dtype])
        self.compiled = wanted

    def forward(self, request: Mapping[str, Any]) -> None:
        """Run a model once, and save the outputs, and in training the arrays after it."""
        import numpy as np

        dtype: ModelDType = request["dtype"] or next(iter(self.models))
        images = np.load(request["images"]).astype(_given(dtype), copy=False)
        outputs = self.backend.forward(self.models[dtype], images, training=request["training"])
        save_arrays(Path(request["result"]), dict(enumerate(outputs)))
        if request["training"]:
            self._save_model_arrays(dtype, request)

    def perturbed(self, request: Mapping[str, Any]) -> None:
        """Run the float64 model several times with rounding noise, and save the last outputs."""
        import numpy as np

        from resnet_spec.parity.optimized_nodes import rounded_nodes
        from resnet_spec.parity.walk import walk_with_noise

        model, images = self.models["float64"], np.load(request["images"])
        generators = [np.random.default_rng([request["seed"], draw]) for draw in range(request["draws"])]
        rounded = rounded_nodes(self.forms)
        moved = [
            walk_with_noise(self.backend, model, self.graph, images, generator, rounded, Noise(*request["noise"]))
            for generator in generators
        ]
        save_arrays(Path(request["result"]), dict(enumerate(moved)))

    def integers(self, request: Mapping[str, Any]) -> None:
        """Compute the 8-bit network's last output exactly, and several times with its codes moved; save them in order.

        The float64 model computes what stays in float.
        """
        import numpy as np

        from resnet_spec.parity.quantized_nodes import reference_of

        quantization, images = Quantization.read(request["quantization"]), np.load(request["images"])
        arrays = read_safetensors(Path(request["weights"])).tensors
        generators = [np.random.default_rng([request["seed"], draw]) for draw in range(request["draws"])]
        found = [
            reference_of(self.backend, self.models["float64"], self.graph, arrays, quantization, generator).outputs(
                images
            )[-1]
            for generator in (None, *generators)
        ]
        save_arrays(Path(request["result"]), dict(enumerate(found)))

    def quantized_nodes(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Compare each node of the 8-bit model with the exact reference."""
        import numpy as np

        from resnet_spec.parity.quantized_nodes import judge_codes, reference_of

        plain = self.backend.compile(self.graph, dtype="float64")
        arrays = read_safetensors(Path(request["weights"])).tensors
        self.backend.load(plain, self.graph, {name: array.astype("float64") for name, array in arrays.items()})
        quantization = Quantization.read(request["quantization"])
        reference = reference_of(self.backend, plain, self.graph, arrays, quantization)
        images = np.load(request["images"])
        return {"nodes": judge_codes(self.backend, self.graph, arrays, reference, quantization, images)}

    def gradients(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Differentiate a model for a given batch or the first of a plan's, and save gradients and arrays after it."""
        import numpy as np

        from resnet_spec.graph import INPUT

        model = self.models[request["dtype"]]
        if request["plan"] is None:
            images = np.load(request["images"])
            targets = [np.load(request[f"targets{index}"]) for index in range(len(self.graph.outputs))]
        else:
            # A perturbed model is not moved back: the next request loads its weights.
            images, targets = next(iter(self._batches(model, request)))
        found = self.backend.gradients(model, self.graph, images, targets)
        save_arrays(Path(request["gradients"]), {**found.parameters, INPUT: found.images})
        self._save_model_arrays(request["dtype"], request)
        return {"loss": found.loss}

    def train(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Train a model for some steps, and save the arrays after them."""
        from resnet_spec.backend.optimizers import from_data

        model, optimizer = self.models[request["dtype"]], from_data(request["optimizer"])
        losses = self.backend.train(model, self.graph, self._batches(model, request), optimizer)
        self._save_model_arrays(request["dtype"], request)
        return {"losses": losses}

    def _batches(self, model: Any, request: Mapping[str, Any]) -> Iterable[Batch]:
        """Return what a request trains on, with rounding noise if there is a draw."""
        from resnet_spec.parity.plan import Plan, batches, perturbed_batches

        plan = Plan(**request["plan"])
        if request["draw"] is None:
            return batches(self.graph, plan)
        return perturbed_batches(self.backend, model, self.graph, plan, request["draw"])

    def begin(self, request: Mapping[str, Any]) -> None:
        """Begin a walk over the nodes; see ``step``."""
        import numpy as np

        from resnet_spec.parity.walk import Walk

        generator = np.random.default_rng(request["seed"]) if request["judging"] else None
        self.walk = Walk(
            self.backend, self.models, self.graph, np.load(request["images"]), generator, leading=request["leading"]
        )

    def step(self, request: Mapping[str, Any]) -> None:
        """Compute the walk's next node, and save its values. ``shared`` is the file of the last node's value."""
        import numpy as np

        if request["shared"]:
            self.walk.give(np.load(request["shared"]))
        save_arrays(Path(request["result"]), self.walk.step())

    def inspect(self, request: Mapping[str, Any]) -> None:
        """Compute a node's value in float32 and in float64, from its inputs rounded to float32."""
        inputs = list(load_arrays(Path(request["inputs"])).values())
        both = self.walk.both(self.graph.by_name[request["node"]], inputs)
        save_arrays(Path(request["result"]), dict(enumerate(both)))

    def optimized_nodes(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Compare each node of the optimized models with the network itself, whose float64 model is compiled too."""
        import numpy as np

        from resnet_spec.parity.optimized_nodes import judge_nodes

        plain = self.backend.compile(self.forms.graphs[0], dtype="float64")
        weights = read_safetensors(Path(request["weights"])).tensors
        arrays = {name: array.astype("float64", copy=False) for name, array in weights.items()}
        self.backend.load(plain, self.forms.graphs[0], arrays)
        generator = np.random.default_rng(request["seed"])
        images = np.load(request["images"])
        return {"nodes": judge_nodes(self.backend, plain, self.models, self.forms, images, generator)}

    def _save_model_arrays(self, dtype: ModelDType, request: Mapping[str, Any]) -> None:
        save_arrays(Path(request["after"]), self.backend.arrays(self.models[dtype], self.graph))


Command = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Does what a request asks for, and returns what to answer."""

COMMANDS = (
    "load", "forward", "perturbed", "gradients", "train", "begin", "step", "inspect", "optimized_nodes", "integers",
    "quantized_nodes",
)  # fmt: skip


def _given(dtype: ModelDType) -> str:
    """What a model's images and weights are given in: NumPy has no bfloat16."""
    return dtype if dtype == "float64" else "float32"


def main() -> None:
    """Answer requests until standard input ends."""
    answers = answer_stream()
    # What a framework creates when it is imported stays: visiting it again and again takes a fifth of the time.
    gc.disable()
    try:
        prepare_process(sys.argv[1])
        backend = get_backend(sys.argv[1])
        # Only what trains is asked of replicas.
        worker = _Worker(cast("Backend", replicas(backend, int(sys.argv[2]))) if len(sys.argv) > 2 else backend)
    except ResnetSpecError as error:
        answer(answers, {"error": str(error)})
        return
    gc.freeze()
    gc.enable()
    answer(answers, {"environment": backend.environment(), "running_variance": backend.running_variance})
    serve({name: getattr(worker, name) for name in COMMANDS}, sys.stdin, answers)


def answer_stream() -> IO[str]:
    """Return a stream to the asking process; what a framework prints on standard output goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    # A framework's message must not raise an error in a locale that cannot encode it.
    for stream in (sys.stdout, sys.stderr):
        cast("io.TextIOWrapper", stream).reconfigure(errors="backslashreplace")
    return answers


def serve(commands: Mapping[str, Command], requests: Iterable[str], answers: IO[str]) -> None:
    """Answer requests until there are no more; an error that a user can cause is answered with its class."""
    for line in requests:
        request = json.loads(line)
        try:
            found = commands[request["command"]](request)
        except MemoryError:
            answer(answers, {"error": "out of memory"})
        except ResnetSpecError as error:
            kind = type(error).__name__
            answer(answers, {"error": f"{kind}: {error}", "class": kind, "message": str(error)})
        except Exception as error:
            answer(answers, {"error": f"{type(error).__name__}: {error}"})
        else:
            answer(answers, found or {})


def answer(stream: IO[str], data: Mapping[str, Any]) -> None:
    """Write an answer."""
    stream.write(json.dumps(data) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
