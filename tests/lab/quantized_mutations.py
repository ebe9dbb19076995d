"""Mistakes in 8-bit forms, each a row of data: the change in one runtime, and where it must be located.

``python -m tests.lab.quantized_mutations`` introduces each, compares the runtime with the exact reference, node by node
too, and writes the table in docs/quantization-tests.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest

from resnet_spec import Graph, Quantization, load, quantize
from resnet_spec.parity.compare import prepared
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.process import started
from resnet_spec.parity.quantized import QuantizedComparison
from resnet_spec.parity.report import Finding
from tests.third_party import distribution, on_path

RESULTS = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "quantization-tests.md"
HEADING = "## Mutations\n"
VARIABLE = "RESNET_SPEC_MUTATION"
"""The environment variable with the path of a file with the name of the current mutation, which is empty for none."""

Runtime = Literal["torch", "tensorflow", "onnx", "tflite"]
RUNTIMES: Mapping[Runtime, str] = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "onnx": "ONNX Runtime",
    "tflite": "TensorFlow Lite",
}
SPEC = "torchvision/resnet18"
OVERRIDES = {
    "parameters.classes": 10,
    "stem.conv1.conv2d.channels": 8,
    "stages.layer1.channels": 8,
    "stages.layer2.channels": 12,
    "stages.layer3": None,
    "stages.layer4": None,
    "input.height": 32,
    "input.width": 32,
}
CONV, RELU = "layer1.0.conv2", "layer1.0.relu1"
"""A convolution with as many channels as its input, whose value has a grid; and the activation before it."""
LATER = "layer1.1.conv2"
PADDED = "layer1.1.conv1"
AFTER_PADDED = "layer1.1.relu1"


@dataclass(frozen=True)
class Mutation:
    """A mistake: the change in one runtime, by name in ``mutated_integers``, and the node where it must be located.

    ``at`` is empty if the network computes the same, or differs by no more than runtimes do in how they round.
    """

    name: str
    runtime: Runtime
    change: str
    at: str = CONV
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _each(name: str, change: str, at: str, *runtimes: Runtime, **arguments: Any) -> list[Mutation]:
    return [Mutation(f"{name}, {RUNTIMES[runtime]}", runtime, change, at, arguments) for runtime in runtimes]


ALL: tuple[Runtime, ...] = ("torch", "tensorflow", "onnx", "tflite")
_TABLE = (
    # What a backend makes of the file.
    *_each("one scale for the whole kernel", "one_scale", CONV, *ALL),
    *_each("weights of another layer", "other_weights", CONV, *ALL),
    *_each("the grid of another value", "other_grid", CONV, *ALL),
    *_each("zero point 0", "zero_point", AFTER_PADDED, *ALL, zero_point=0, node=AFTER_PADDED),
    *_each("no value between a convolution and the next is rounded", "no_grid", CONV, *ALL),
    *_each("no bias", "no_bias", CONV, *ALL),
    *_each("a bias with the scale of the kernel alone", "kernel_bias", CONV, *ALL),
    *_each("the scale of a value larger by 1 %", "scaled_grid", CONV, *ALL, factor=1.01),
    *_each("the scale of a value larger by one part in 10,000,000", "scaled_grid", "", *ALL, factor=1 + 1.2e-7),
    # The models.
    *_each("a kernel in float", "float_kernel", CONV, "torch", "tensorflow"),
    *_each("a kernel rounded down", "kernel_rounded_down", CONV, "torch", "tensorflow"),
    *_each("scales of input channels instead of output channels", "wrong_axis", CONV, "tensorflow"),
    # It reads no axis of a convolution's scales, and computes what is right.
    *_each("scales of input channels in the file", "wrong_axis", "", "onnx"),
    *_each("values rounded down", "rounded_down", "relu", "torch", "tensorflow"),
    *_each("halves rounded up", "rounded_up", "", "torch", "tensorflow"),
    *_each("codes from -127", "narrow", "relu", "torch", "tensorflow"),
    *_each("sums limited to 14 bits", "saturated", CONV, "torch"),
    *_each("the padding is the code 0", "padded", AFTER_PADDED, "torch", "onnx"),
    *_each("an activation left out where the grid has negative numbers", "no_relu", RELU, "torch", "onnx", "tflite"),
    *_each("an activation left out where the grid has none", "no_effect", "", "torch", "onnx", "tflite"),
    *_each("a zero point that is not that of the input", "wrong_input", CONV, "torch", "onnx"),
    # The files.
    *_each("scales of two channels swapped", "swapped_scales", CONV, "onnx", "tflite"),
    *_each("a channel's scale larger by 5 %", "scaled_channel", CONV, "onnx", "tflite"),
    *_each("kernels of two channels swapped", "swapped_kernels", CONV, "onnx", "tflite"),
    *_each("a kernel that is not symmetric", "asymmetric", CONV, "onnx"),
    *_each("a scale only where the value is read", "one_sided", CONV, "onnx"),
    *_each("a zero point larger by 1 only where the value is read", "one_sided_zero", CONV, "onnx"),
    *_each("the bias of another channel", "turned_bias", CONV, "onnx", "tflite"),
    *_each("the kernel mirrored", "mirrored", CONV, "onnx", "tflite"),
    *_each("a zero point larger by 1 where the value is made and read", "file_zero", "", "tflite"),
)
MUTATIONS: Mapping[str, Mutation] = {mutation.name: mutation for mutation in _TABLE}


@dataclass(frozen=True)
class Verdict:
    """What a comparison found of a mutation."""

    mutation: Mutation
    logits: float
    """The difference of the logits, in parts of what is allowed."""
    finding: Finding | None

    @property
    def located(self) -> bool:
        """Whether the first wrong node is the right one; of a mutation without effect, whether nothing is found."""
        found = self.finding.node if self.finding else ""
        return found == self.mutation.at and (bool(found) or self.logits <= 1)

    def row(self) -> dict[str, Any]:
        """The result as data."""
        finding = self.finding
        return {
            "logits": self.logits,
            "node": finding.node if finding else "",
            "causes": [*finding.causes] if finding else [],
            "located": self.located,
        }


@cache
def graph() -> Graph:
    """The network."""
    return load(SPEC, OVERRIDES).to_graph()


def edited(quantization: Quantization) -> Quantization:
    """A file in which one activation's grid has negative numbers, so that it limits its value itself."""
    grid = quantization.values[RELU]
    wider = grid.model_copy(update={"scale": grid.scale * 2, "zero_point": 0})
    return quantization.model_copy(update={"values": quantization.values | {RELU: wider}})


@contextmanager
def comparing(*runtimes: Runtime) -> Generator[Callable[[Mutation | None, Runtime], Verdict]]:
    """Yield a function that compares a mutation of one of these runtimes, or the runtime itself; processes stay."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="resnet-spec-")))
        wanted = folder / "mutation"
        wanted.write_text("", "utf-8")
        classes = {f"integer_{name}": f"tests.lab.mutated_integers_{name}:Mutated" for name in RUNTIMES}
        distribution(folder, "mutated-integers", classes)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        on_path(patch, folder, ROOT)
        patch.setenv(VARIABLE, str(wanted))
        first, *others = stack.enter_context(started(["torch", *(f"integer_{name}" for name in runtimes)]))
        by_name = dict(zip(runtimes, others, strict=True))
        files = Scratch(folder)
        spec = load(SPEC, OVERRIDES)
        whole, arrays = prepared(first, files, spec, None, 0, lambda step: None)
        images = _images(8, 1)
        chosen = edited(quantize(spec, arrays, images, reduce_range=True))

        def run(mutation: Mutation | None, runtime: Runtime) -> Verdict:
            wanted.write_text(mutation.name if mutation else "", "utf-8")
            process = by_name[runtime]
            # What is kept in float changes nothing, but that the model is compiled again.
            given = chosen.model_copy(update={"kept": (mutation.name,) if mutation else ()})
            comparison = QuantizedComparison([first, process], files, lambda step: None)
            differences, findings, _ = comparison.run(whole, arrays, given, _images(2, 2), 0, bisect=True)
            (own,) = [difference for difference in differences if difference.backend == process.name]
            assert all(finding.backend == process.name for finding in findings)
            shown = mutation or Mutation("nothing", runtime, "", "")
            return Verdict(shown, own.largest / own.allowed, findings[0] if findings else None)

        yield run


def _images(count: int, seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).normal(size=(count, *graph().input.shape)).astype("float32")


def current() -> Mutation | None:
    """The mutation of this process, which compares one after another."""
    return MUTATIONS.get(Path(os.environ[VARIABLE]).read_text("utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args().pattern
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for runtime in RUNTIMES:
        own = [m for name, m in MUTATIONS.items() if m.runtime == runtime and fnmatchcase(name, pattern)]
        if not own:
            continue
        with comparing(runtime) as run:
            assert run(None, runtime).located
            for mutation in own:
                verdict = run(mutation, runtime)
                results[mutation.name] = verdict.row()
                RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
                print("ok " if verdict.located else "NOT", mutation.name, results[mutation.name], flush=True)
    results = {name: results[name] for name in MUTATIONS if name in results}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if results.keys() == MUTATIONS.keys():
        before, _, after = DOCUMENT.read_text("utf-8").partition(HEADING)
        rest = after[after.index("\n## ") + 1 :] if "\n## " in after else ""
        DOCUMENT.write_text(before + HEADING + table(results) + ("\n" + rest if rest else ""), "utf-8")


def table(results: Mapping[str, Any]) -> str:
    """The section of the document."""
    found = [results[name] for name, mutation in MUTATIONS.items() if mutation.at]
    by_logits = sum(row["logits"] > 1 for row in found)
    located = sum(row["located"] for row in found)
    explained = sum(bool(row["causes"]) for row in found)
    same = len(MUTATIONS) - len(found)
    lines = [
        "",
        f"{len(found)} mistakes: the logits show {by_logits}, and `--bisect` locates {located} at their node,",
        f"{explained} of them with a confirmed cause. {same} more compute the same, or differ by no more than",
        "runtimes do in how they round, and are not reported. By `python -m tests.lab.quantized_mutations`.",
        "",
        "| mistake | logits, of what is allowed | located at | confirmed causes |",
        "|---|---|---|---|",
    ]
    for name in MUTATIONS:
        row = results[name]
        times = f"{row['logits']:.1f}"
        node = f"`{row['node']}`" if row["node"] else ""
        lines.append(f"| {name} | {times} | {node} | {'; '.join(row['causes'])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
