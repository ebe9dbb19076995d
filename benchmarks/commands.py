"""Starting a command, and validating the shipped specs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import resnet_spec
from benchmarks.pairs import Ratio, measure, summarize
from resnet_spec.spec.catalog import Catalog

SPECS_A_SECOND = 50


def run() -> Iterator[Ratio]:
    command = shutil.which("resnet-build", path=str(Path(sys.executable).parent))
    assert command

    def ours() -> None:
        subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)

    def theirs() -> None:
        subprocess.run([sys.executable, "-c", "import pydantic, yaml"], check=True)

    yield measure("resnet-build --help vs. python -c 'import pydantic, yaml'", ours, theirs, 25, target="≤ 1.5")
    names = resnet_spec.available()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        catalog = Catalog(Catalog.shipped().root)  # a new one, with an empty cache
        for name in names:
            resnet_spec.load(name, catalog=catalog).to_graph()
        times.append((time.perf_counter() - start, len(names) / SPECS_A_SECOND))
    name = f"validate all {len(names)} specs, graphs included vs. {SPECS_A_SECOND} a second"
    yield summarize(name, np.array(times), target="≤ 1")
