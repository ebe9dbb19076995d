"""What the mutated 8-bit backends share: changes of the file and of the weights that a backend is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from resnet_spec import Graph, Quantization
from tests.lab.quantized_mutations import CONV, LATER, Mutation, current

Arrays = Mapping[str, Any]


def _with_grid(file: Quantization, grid: Any, node: str = CONV) -> Quantization:
    values = {name: own for name, own in file.values.items() if name != node} | ({node: grid} if grid else {})
    return file.model_copy(update={"values": values})


def _with_kernel(file: Quantization, scales: Any) -> Quantization:
    kernels = {name: own for name, own in file.kernels.items() if name != f"{CONV}.weight"}
    return file.model_copy(update={"kernels": kernels | ({f"{CONV}.weight": scales} if scales else {})})


def _one_scale(file: Quantization) -> Quantization:
    scales = file.kernels[f"{CONV}.weight"]
    return _with_kernel(file, (max(scales),) * len(scales))


def _zero_point(file: Quantization, node: str, zero_point: int) -> Quantization:
    return _with_grid(file, file.values[node].model_copy(update={"zero_point": zero_point}), node)


def _scaled_grid(file: Quantization, factor: float) -> Quantization:
    grid = file.values[CONV]
    return _with_grid(file, grid.model_copy(update={"scale": float(np.float32(grid.scale * factor))}))


OF_FILES: Mapping[str, Callable[..., Quantization]] = {
    "one_scale": _one_scale,
    "other_grid": lambda file: _with_grid(file, file.values[LATER]),
    "zero_point": _zero_point,
    "no_grid": lambda file: _with_grid(file, None),
    "scaled_grid": _scaled_grid,
    "float_kernel": lambda file: _with_kernel(file, None),
}
"""What each change makes of the file."""


def _kernel_bias(arrays: Arrays, file: Quantization) -> Arrays:
    return {**arrays, f"{CONV}.bias": arrays[f"{CONV}.bias"] / file.values["layer1.0.relu1"].scale}


OF_ARRAYS: Mapping[str, Callable[[Arrays, Quantization], Arrays]] = {
    "other_weights": lambda arrays, file: {**arrays, f"{CONV}.weight": arrays[f"{LATER}.weight"]},
    "no_bias": lambda arrays, file: {**arrays, f"{CONV}.bias": 0 * arrays[f"{CONV}.bias"]},
    "kernel_bias": _kernel_bias,
}
"""What each change makes of the weights."""


class MutatedIntegers:
    """A mixin, which precedes a backend's class among the bases; only 8-bit models are changed."""

    compiled: Any = None
    given: Quantization
    mutation: Mutation | None = None

    def compile_quantized(self, graph: Graph, quantization: Quantization, **settings: Any) -> Any:
        parent: Any = super()
        self.mutation, self.given = current(), quantization
        if self.mutation and self.mutation.change in OF_FILES:
            quantization = OF_FILES[self.mutation.change](quantization, **self.mutation.arguments)
        self.compiled = parent.compile_quantized(graph, quantization, **settings)
        return self.compiled

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        parent: Any = super()
        change = self.mutation.change if self.mutation and model is self.compiled else ""
        parent.load(model, graph, OF_ARRAYS[change](arrays, self.given) if change in OF_ARRAYS else arrays)
        if change:
            self.altered(model, change)

    def altered(self, model: Any, change: str) -> None:
        """Change a loaded model."""
