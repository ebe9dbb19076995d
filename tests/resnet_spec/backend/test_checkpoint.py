"""The checkpoint that every reader returns, and the numbers that NumPy lacks."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.backend.checkpoint import widen_bfloat16


@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 2)])
def test_bfloat16_is_widened_exactly(shape: tuple[int, ...], dtype: str) -> None:
    bits = np.resize(np.array([0x3F80, 0xC000, 0x7F80, 0x0001], "<u2"), shape).view(dtype)
    wide = widen_bfloat16(bits)
    assert isinstance(wide, np.ndarray)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, np.resize(np.float32([1, -2, np.inf, 2.0**-133]), shape))
