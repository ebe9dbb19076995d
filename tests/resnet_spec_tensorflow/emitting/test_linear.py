"""Linear layers against products computed by hand."""

from __future__ import annotations

import numpy as np


def test_linear_after_a_map_reads_channels_first(run, builder):
    b = builder(2, 2, 2)
    b("flatten", "flatten", "input")
    b("fc", "linear", "flatten", features=1)
    weight = 10.0 ** np.arange(8).reshape(1, 8)
    y = run(b.graph(), np.arange(8).reshape(1, 2, 2, 2), {"fc.weight": weight, "fc.bias": np.zeros(1)}, dtype="float64")
    assert y.tolist() == [[76543210]]
