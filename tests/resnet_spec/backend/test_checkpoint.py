"""The checkpoint that every reader returns, and the numbers that NumPy lacks."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.backend.checkpoint import narrow_bfloat16, widen_bfloat16
from tests.needs import need


@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 2)])
def test_bfloat16_is_widened_exactly(shape: tuple[int, ...], dtype: str) -> None:
    bits = np.resize(np.array([0x3F80, 0xC000, 0x7F80, 0x0001], "<u2"), shape).view(dtype)
    wide = widen_bfloat16(bits)
    assert isinstance(wide, np.ndarray)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, np.resize(np.float32([1, -2, np.inf, 2.0**-133]), shape))


def test_bfloat16_is_rounded_as_by_ml_dtypes() -> None:
    need("ml_dtypes")
    import ml_dtypes

    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32)
    edges = [0, 0x80000000, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 1, 0x00800000]
    values = np.concatenate([bits, np.array(edges, np.uint32)]).view(np.float32)
    with np.errstate(all="ignore"):
        wanted = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    number = ~np.isnan(values)
    assert np.array_equal(narrow_bfloat16(values)[number], wanted[number])
    assert np.isnan(widen_bfloat16(narrow_bfloat16(values)))[~number].all()
