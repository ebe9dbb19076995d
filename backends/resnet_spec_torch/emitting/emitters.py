"""The tables of emitters, and what every emitter gets.

An emitter makes an empty native layer, or, for what PyTorch writes as a function, the expression for the generated
``forward``. It never sees a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import nn

from resnet_spec.backend.table import Table
from resnet_spec.operations import AnyOperation
from resnet_spec.operations.fields import Shape
from resnet_spec.quantization import Quantization

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class Options(NamedTuple):
    """Settings that all layers of a model share; ``quantization`` is of an 8-bit model only.

    ``autocast`` is what the whole model's ``forward`` casts to, under a mixed policy.
    """

    dtype: torch.dtype = torch.float32
    exact_statistics: bool = False
    synchronized: bool = False
    quantization: Quantization | None = None
    autocast: torch.dtype | None = None


LayerEmitter: TypeAlias = Callable[[Any, Shape, Options], nn.Module]
ExpressionEmitter: TypeAlias = Callable[..., str]

LAYERS: Table[LayerEmitter] = Table("emitter")
"""Operations that become a module: (operation, shape of its input, options) to an empty layer."""

EXPRESSIONS: Table[ExpressionEmitter] = Table("emitter", disjoint=LAYERS)
"""Operations that become an expression: (operation, variables...) to source text."""

NEEDS_RANK = frozenset({"pad_channels"})
"""Operations whose expression depends on the number of axes of positions: their emitters take ``rank``, too."""

PARAMETERS: Table[ExpressionEmitter] = Table("emitter", disjoint=LAYERS)
"""Operations that own a parameter of the module around them and no module: (operation, shape of the output, variable
of the input, attribute of the parameter) to source text."""


def expression(operation: AnyOperation, shape: Shape, *variables: str) -> str:
    """Return the source text of an operation without a module; ``shape`` is that of its value."""
    rank = {"rank": len(shape) - 1} if operation.op in NEEDS_RANK else {}
    return EXPRESSIONS[operation.op](operation, *variables, **rank)


IN_PLACE = {"relu": "activate", "add": "accumulate"}
"""Operations that may overwrite an input, with the function of ``forward_namespace`` that does so if it is safe."""

NEW_VALUE = frozenset(
    {
        "conv1d",
        "conv2d",
        "conv3d",
        "std_conv2d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "matmul",
        "batch_norm",
        "position_batch_norm",
        "group_norm",
        "layer_norm",
        "instance_norm",
        "evo_norm_s0",
        "filter_response_norm",
        "add",
        "multiply",
        "scale",
        "offset",
        "subtract",
        "maximum",
        "concat",
    }
)
"""Operations whose output is new memory that their gradient does not need."""


@cache
def _uninitialized(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})  # pyright: ignore[reportUnknownLambdaType]


def empty(kind: type[ModuleType], *arguments: Any, **settings: Any) -> ModuleType:
    """Return a layer on the meta device, without the random initialization of its constructor."""
    module: Any = _uninitialized(kind)(*arguments, device="meta", **settings)
    module.__class__ = kind
    return module
