"""Computes the values within a recorded program, function by function, as PyTorch runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.export import ExportedProgram


def inner_values(
    program: ExportedProgram, batch: int, nodes: Mapping[str, fx.Node]
) -> Callable[[NDArray[np.float32], Sequence[str]], dict[str, NDArray[Any]]]:
    """Return a function that computes the values of some functions by name, for images in batches of a fixed size."""
    held = [*_held(program)]

    def values(images: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        wanted = {nodes[name]: name for name in names if name in nodes}
        like = next((tensor for tensor in held if tensor.is_floating_point()), torch.zeros(0))
        given = torch.as_tensor(images).to(like.device, like.dtype)
        padded = torch.cat([given, given[:1].repeat(-len(given) % batch, *[1] * (given.dim() - 1))])
        parts: dict[str, list[torch.Tensor]] = {}
        with torch.no_grad():
            for part in torch.split(padded, batch):
                interpreter = _Interpreter(program.graph_module, wanted)
                interpreter.run(*held, part)
                for name, value in interpreter.found.items():
                    parts.setdefault(name, []).append(value)
        return {name: torch.cat(found)[: len(images)].float().cpu().numpy() for name, found in parts.items()}

    return values


def _held(program: ExportedProgram) -> list[torch.Tensor]:
    """The tensors that a program passes to its functions before the images."""
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    everything: dict[str, Any] = {**program.constants, **program.state_dict}
    order = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    return [everything[names[name]] for name in order if name in names]


class _Interpreter(fx.Interpreter):
    """Keeps copies of some values, since a later function may overwrite them."""

    def __init__(self, module: fx.GraphModule, wanted: Mapping[fx.Node, str]) -> None:
        super().__init__(module)
        self.found: dict[str, torch.Tensor] = {}
        self._wanted = wanted

    def run_node(self, n: fx.Node) -> Any:
        """Run one function."""
        value: Any = super().run_node(n)
        if n in self._wanted and isinstance(value, torch.Tensor):
            self.found[self._wanted[n]] = value.clone()
        return value
