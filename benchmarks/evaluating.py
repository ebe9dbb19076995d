"""Reading the images of an evaluation vs. PyTorch's own loader with the same processes; and memory over many images.

Both read the same photographs by torchvision's ``ImageFolder`` order, and prepare them for ResNet-50, in processes that
have been started before. Memory is that of the command, with its backend and readers, over small images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import resnet_spec
from benchmarks.pairs import Ratio, measure, summarize
from resnet_spec.evaluating.folders import find_images
from resnet_spec.evaluating.reading import Readers
from resnet_spec.spec.published import Preprocessing

PHOTOGRAPHS = (data.astronaut, data.chelsea, data.coffee)
WORKERS, BATCH = 2, 32
IMAGES = 640
FEW, MANY = 5_000, 50_000
PREPROCESSING = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL = "{crop: 16}"


def run() -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as name:
        yield throughput(Path(name, "photographs"))
    yield memory()


def throughput(folder: Path) -> Ratio:
    from tests.oracles.torchvision_original import models

    models()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    linked(folder, [photograph() for photograph in PHOTOGRAPHS], IMAGES, classes=5)
    mean, std = [*PREPROCESSING.mean], [*PREPROCESSING.std]
    transform = Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize(mean, std)])
    loader = DataLoader(ImageFolder(str(folder), transform), BATCH, num_workers=WORKERS, persistent_workers=True)
    paths = [str(folder / path) for path, _ in find_images(folder).images]
    with (
        tempfile.TemporaryDirectory() as scratch,
        Readers(PREPROCESSING, (224, 224), WORKERS, BATCH, Path(scratch)) as readers,
    ):

        def ours() -> float:
            return sum(float(np.load(batch.path)[0, 0, 0, 0]) for batch in readers.batches(paths))

        def theirs() -> float:
            return sum(float(batch[0, 0, 0, 0]) for batch, _ in loader)

        assert abs(ours() - theirs()) < 1e-3
        name = f"read {IMAGES} photographs in {WORKERS} processes vs. torch's DataLoader"
        return measure(name, ours, theirs, 9, target="≤ 1", warmups=1)


def memory() -> Ratio:
    with tempfile.TemporaryDirectory() as name:
        graph = resnet_spec.load("cifar/resnet20").to_graph()
        weights = Path(name, "weights.safetensors")
        resnet_spec.write_weights(weights, graph, resnet_spec.initialize(graph))
        pixels = [photograph()[:40, :40] for photograph in PHOTOGRAPHS]
        peaks: list[float] = []
        for count in (MANY, FEW):
            folder = Path(name, str(count))
            linked(folder, pixels, count, classes=10)
            command = [
                str(Path(sys.executable).with_name("resnet-spec")), "evaluate", "cifar/resnet20", "--images",
                str(folder), "--weights", str(weights), "--backend", "torch", "--preprocessing", SMALL, "--workers",
                str(WORKERS), "--batch", "128", "--json",
            ]  # fmt: skip
            peaks.append(peak(command) / 2**30)
    name = f"memory of evaluate over {MANY:,} images vs. {FEW:,} (GiB)"
    return summarize(name, np.array([peaks]), target="≤ 1.05")


def linked(folder: Path, pictures: list[np.ndarray], count: int, classes: int) -> None:
    """Make a folder of classes with as many images, which are links to a few files."""
    files: list[Path] = []
    folder.mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        files.append(folder.parent / f"{folder.name}-{number}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=90)
    for number in range(count):
        path = folder / str(number % classes) / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        os.link(files[number % len(files)], path)


def peak(command: list[str]) -> float:
    """The most memory in bytes that a command and the processes it starts use at one time, without what they share."""
    most = 0.0
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.2):
                most = max(most, used(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        ended.set()
        watcher.join()
    # Untrained, the network is right by chance only, and images that cannot be read would be counted.
    assert process.returncode == 0, command
    return most


def used(process: int) -> float:
    """The private memory of a process and of those it started."""
    total = 0.0
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except (OSError, ProcessLookupError):
        return 0.0
    for line in text.splitlines():
        if line.startswith("Private"):
            total += 1024 * int(line.split()[1])
    return total + sum(used(int(child)) for child in children)


def main() -> None:
    """``python -m benchmarks.evaluating``: print both rows, and the time of the command over 50,000 images."""
    begin = time.perf_counter()
    for ratio in run():
        print(ratio)
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
