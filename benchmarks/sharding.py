"""Peak memory of each of two processes: FSDP2, filled from slices of a file, vs. DistributedDataParallel."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import resnet_spec
from benchmarks.pairs import Ratio, summarize

NETWORK = "torchvision/wide_resnet101_2"

RANKS, RUNS = 2, 3

CODE = """
import json, re, sys
from pathlib import Path
import torch
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
import resnet_spec

how, network, folder, rank, ranks = *sys.argv[1:4], *map(int, sys.argv[4:])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=ranks)
backend = resnet_spec.get_backend("torch")

def status(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

imported = status("VmRSS")
if how == "sharded":
    model = backend.compile(resnet_spec.load(network).to_graph(), synchronized=True).train()
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            fully_shard(block)
    fully_shard(model)
    model.to_empty(device="cpu")
    state = model.state_dict()
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        state.pop(name).zero_()
    checkpoint.load(state, storage_reader=checkpoint.HuggingFaceStorageReader(folder))
    del state
else:
    model = resnet_spec.build(network, "torch", f"{folder}/model.safetensors", training=True, synchronized=True)
    model = DistributedDataParallel(model)
distributed.barrier()
peaks = [status("VmHWM") - imported]
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(2):
    nn.functional.cross_entropy(model(torch.randn(1, 3, 64, 64)), torch.zeros(1, dtype=torch.long)).backward()
    optimizer.step()
    optimizer.zero_grad()
distributed.barrier()
print(json.dumps([*peaks, status("VmHWM") - imported]))
distributed.destroy_process_group()
"""


def run() -> Iterator[Ratio]:
    graph = resnet_spec.load(NETWORK).to_graph()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        resnet_spec.write_weights(folder / "model.safetensors", graph, resnet_spec.initialize(graph, 0))
        pairs = [[_peaks(how, folder) for how in ("sharded", "replicated")] for _ in range(RUNS)]
    whats = ("holds wide_resnet101_2 with weights", "≤ 0.6"), ("trains it with momentum", "")
    for index, (what, target) in enumerate(whats):
        rows = [[peaks[index] / 2**30 for peaks in pair] for pair in pairs]
        label = f"peak memory of one of 2 processes that {what}, after imports: FSDP2 vs. DDP (GiB)"
        yield summarize(label, np.array(rows), target=target)


def _peaks(how: str, folder: Path) -> list[int]:
    """The bytes of the larger process, once it has the weights and once it has trained."""
    (folder / "group").unlink(missing_ok=True)
    commands = [[sys.executable, "-c", CODE, how, NETWORK, str(folder), str(rank), str(RANKS)] for rank in range(RANKS)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return [max(peaks) for peaks in zip(*(json.loads(output.splitlines()[-1]) for output in outputs), strict=True)]
