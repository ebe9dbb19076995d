"""The dtypes that a model can be built in: those of comparisons, half precision, and mixed policies."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeGuard, cast, get_args

from resnet_spec.errors import BackendError, suggest

ModelDType: TypeAlias = Literal["float32", "float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16"]
"""What a model computes in; under a mixed policy its parameters are in float32."""

HalfDType: TypeAlias = Literal["float16", "bfloat16"]
"""The dtypes of half precision that a file of weights may have."""

HalfPrecision: TypeAlias = Literal["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]
"""What computes in half precision; under a mixed policy parameters are in float32."""

DTYPES: tuple[ModelDType, ...] = get_args(ModelDType)
HALF: tuple[HalfDType, ...] = get_args(HalfDType)
HALF_PRECISIONS: tuple[HalfPrecision, ...] = get_args(HalfPrecision)

MIXED = "mixed_"
"""What the names of mixed policies begin with."""


def checked_dtype(dtype: object) -> ModelDType:
    """Return a dtype by its name.

    Args:
        dtype: Its name, or a framework's object for it, such as ``torch.bfloat16``.

    Returns:
        The name.

    Raises:
        BackendError: There is no such dtype for models.

    Examples:
        >>> checked_dtype("mixed_bfloat16")
        'mixed_bfloat16'
    """
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise BackendError(f"no model computes in dtype={name!r}{suggest(name, DTYPES)} (known: {', '.join(DTYPES)})")
    return name


def is_half(dtype: ModelDType | None) -> TypeGuard[HalfPrecision]:
    """Return whether a model computes in half precision.

    Args:
        dtype: The dtype, or None for a framework's own, which is not known here.

    Returns:
        Whether weights in half precision lose nothing in it that it keeps.
    """
    return dtype is not None and dtype.endswith("float16")


def computed_in(dtype: ModelDType) -> ModelDType:
    """Return the dtype in which values are computed.

    Args:
        dtype: A dtype, or a mixed policy.

    Returns:
        The dtype; the half precision of a mixed policy.

    Examples:
        >>> computed_in("mixed_bfloat16")
        'bfloat16'
    """
    return cast("ModelDType", dtype.removeprefix(MIXED))
