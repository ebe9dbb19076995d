"""What PaddlePaddle's ``.pdparams`` has that no other pickle of NumPy's arrays has."""

from __future__ import annotations

from typing import Any, cast

from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.pickles import Object, is_sequence
from resnet_spec.weights.formats.stored_tensors import Tensor

NAMES, PIECES = "StructuredToParameterName@@", "UnpackBigParamInfor@@"
"""Keys beside the arrays of a state_dict: Paddle's own names of them, and which are in several pieces."""


PAIR = "builtins.tuple"


def check_pieces(content: Any) -> None:
    """Raise WeightsError if parameters of more than a GiB are in pieces, as protocols before 4 need it."""
    if isinstance(content, dict) and PIECES in content:
        raise WeightsError(
            "has parameters in pieces, which are not joined; save it again by paddle.save(…, protocol=4)"
        )


def mark_bfloat16(content: Any) -> None:
    """Give a state_dict's arrays of bfloat16 their type: Paddle has none of 16 bits without a sign, and saves bits."""
    if isinstance(content, dict) and NAMES in content:
        for value in cast("dict[Any, Any]", content).values():
            _mark(value)


def unwrapped(value: Any) -> Any:
    """The array of a pair with its name, as a call of which Paddle pickles a tensor outside of a state_dict."""
    if isinstance(value, Object) and value.kind == PAIR and len(value.arguments) == 1:
        pair = value.arguments[0]
        if is_sequence(pair) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], Tensor):
            return _mark(pair[1])
    return value


def _mark(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == "uint16":
        value.dtype = "bfloat16"
    return value
