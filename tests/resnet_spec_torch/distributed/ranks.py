"""Two processes of a gloo group run the checks of all modules, and what they return is compared by the tests.

``python -m tests.resnet_spec_torch.distributed.ranks FOLDER RANK`` is one of them. Starting them takes longer than the
checks, so that all run in the same two.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.docs.documents import blocks, read

RANKS = 2
MODULES = "synchronizing", "sharding"
DOCUMENT, SCRIPTS = "docs/distributed.md", ("ddp.py", "sharded.py")
"""Scripts for torchrun, whose files the tests read."""
SECONDS = 300
ROOT = Path(__file__).parents[3]


def run(folder: Path) -> list[dict[str, Any]]:
    """What each check returned in each rank."""
    arguments = [sys.executable, "-m", __name__, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen([*arguments, str(rank)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(RANKS)
    ]
    try:
        errors = [rank.communicate(timeout=SECONDS)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * RANKS, "\n".join(errors)
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(RANKS)]


def _main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    checks: dict[str, Any] = {}
    for module in MODULES:
        checks |= importlib.import_module(f"{__package__}.{module}").CHECKS
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=RANKS)
    found = {name: check(rank, folder) for name, check in checks.items()}
    stores = [_store(rank) for _ in SCRIPTS]
    distributed.destroy_process_group()
    for name, store in zip(SCRIPTS, stores, strict=True):
        _run_script(name, store, rank, folder)
    (folder / f"{rank}.json").write_text(json.dumps(found), "utf-8")


def _store(rank: int) -> distributed.TCPStore:
    """A store for another group, at a port that is free."""
    port = [distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)] if rank == 0 else []
    given = [port[0].port if port else 0]
    distributed.broadcast_object_list(given)
    return port[0] if port else distributed.TCPStore("localhost", given[0])


def _run_script(name: str, store: distributed.TCPStore, rank: int, folder: Path) -> None:
    """Run a script of a document as torchrun runs it: with the store of another process."""
    (text,) = (block.text for block in blocks(DOCUMENT, read(DOCUMENT)) if block.file == name)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    os.chdir(folder)
    exec(compile(text, name, "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
