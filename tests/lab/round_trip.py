"""``python -m tests.lab.round_trip``: write every shipped network in each format, import it again, and record the rest.

``--networks PATTERN``, ``--formats onnx,pt2`` and ``--limit SECONDS`` choose; ``--again`` repeats what is recorded.
Results are kept in ``round_trip.json``, one network and format at a time, the smallest networks first; the table in
``docs/round-trip.md`` is written from them. Each runs in a process with limits of time and memory.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any
from unittest.mock import patch

import numpy as np

import resnet_spec
from resnet_spec import ModelError, get_backend, import_model
from resnet_spec.backend.source import SourceModel
from resnet_spec.graph import INPUT, Graph
from resnet_spec.graph.difference import same_but_for_names
from resnet_spec.importing import importer
from resnet_spec.importing.architecture import architecture, by_name
from resnet_spec.operations import AvgPool, Category, Conv, ConvTranspose, MaxPool, Multiply, Resize, Slice, StdConv
from resnet_spec.operations.windows import explicit_padding, overhang, window_count
from resnet_spec.optimization.folding import fold
from resnet_spec.structure.comparison import MismatchError, compare_with_source
from tests.lab.worker import Worker, work

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "round-trip.md"
HEADING = "## The networks\n"

FORMATS = {
    "onnx": ("onnx", "`.onnx` of the ONNX backend, without its metadata"),
    "pt2": ("torch", "`.pt2` of the PyTorch backend, by `torch.export`"),
    "keras": ("tensorflow", "`.keras` of the TensorFlow backend"),
    "saved_model": ("tensorflow", "SavedModel of the TensorFlow backend"),
    "torch_onnx": ("torch", "`torch.onnx.export` of the PyTorch model"),
    "dynamo_onnx": ("torch", "`torch.onnx.export(dynamo=True)` of the PyTorch model"),
    "keras_export": ("tensorflow", "SavedModel by `model.export` of the Keras model"),
}
"""The backend whose process writes and imports each format, and what is written."""

ALL = ("onnx", "pt2", "keras", "saved_model")
"""Formats in which every network is written; the others are written by the frameworks, and for REPRESENTATIVES."""

REPRESENTATIVES = (
    "torchvision/resnet18", "keras/resnet50", "keras/resnet50v2", "cifar/resnet20", "cifar/preact_resnet110",
    "cifar/resnext29_8x64d", "cifar/wrn_16_8", "faces/iresnet18", "image_classifiers/resnet18", "mirror/encoder18",
    "mirror/encoder50", "msra/resnet50", "pytorchcv/diracnet18v2", "pytorchcv/preresnet18", "pytorchcv/resneta50b",
    "slim/resnet_v1_50", "slim/resnet_v2_50", "swav/resnet50w2", "timm/test_resnet", "timm/ecaresnet26t",
    "timm/ecaresnet50d_pruned", "timm/ecaresnetlight", "timm/gcresnext26ts", "timm/legacy_seresnet18",
    "timm/legacy_seresnext26_32x4d", "timm/regnetv_040", "timm/regnetz_b16", "timm/regnetz_005", "timm/regnetz_d8",
    "timm/res2net50_26w_4s", "timm/res2next50", "timm/resnest14d", "timm/resnest50d_4s2x40d", "timm/resnet10t",
    "timm/resnet50_gn", "timm/resnet61q", "timm/resnetaa34d", "timm/resnetblur18", "timm/resnetrs50",
    "timm/resnetv2_50x1_bit", "timm/resnetv2_50d_evos", "timm/resnetv2_50d_frn", "timm/resnetv2_50d_gn",
    "timm/resnetv2_18d", "timm/senet154", "timm/seresnext26t_32x4d", "timm/seresnext26ts", "timm/skresnet18",
    "timm/skresnext50_32x4d", "torchvision/fcn_resnet50", "torchvision/deeplabv3_resnet50",
    "torchvision/regnet_x_400mf", "torchvision/regnet_y_400mf", "torchvision/resnext50_32x4d", "tutorial/resnet18",
    "mirror/decoder18",
)  # fmt: skip

TIME_LIMIT = 900
"""Seconds for one network and format."""

WINDOWS = (AvgPool, Conv, MaxPool, StdConv)
"""Operations whose padding is stated in several ways."""

GATE = 1e-4
"""The largest difference of logits, in standard deviations, in float32."""


# -- one network in one format -----------------------------------------------------------------------------------------


def arrays_of(graph: Graph) -> dict[str, Any]:
    """Random weights of which no two are equal, and with which activations neither vanish nor explode."""
    random = np.random.default_rng(0)
    return {
        p.name: (
            random.uniform(0.5, 1.5, p.shape)
            if p.role.startswith(("norm_", "pool_", "position_"))
            else random.standard_normal(p.shape) / np.sqrt(np.prod(p.shape[1:]) or 1)
        ).astype(np.float32)
        for p in graph.parameters()
    }


def written(kind: str, graph: Graph, arrays: Mapping[str, Any], folder: Path) -> Path:
    """Write a network in a format."""
    backend: Any = get_backend(FORMATS[kind][0])
    model = backend.compile(graph, **({"exact_statistics": True} if kind == "keras" else {}))
    backend.load(model, graph, arrays)
    if kind == "onnx":
        import onnx

        proto = model.to_proto()
        del proto.metadata_props[:]
        # A file of more than 2 GiB has its arrays beside it.
        large = sum(array.nbytes for array in arrays.values()) > 2**31 - 2**20
        onnx.save(proto, folder / "model.onnx", save_as_external_data=large)
        return folder / "model.onnx"
    if kind in ("torch_onnx", "dynamo_onnx"):
        import torch

        images = torch.zeros(2, *graph.input.shape)
        dynamo = kind == "dynamo_onnx"
        torch.onnx.export(model, (images,), str(folder / "model.onnx"), dynamo=dynamo, external_data=False)
        return folder / "model.onnx"
    if kind == "keras_export":
        model.export(str(folder / "model"), format="tf_saved_model", verbose=False)
        return folder / "model"
    path = folder / {"pt2": "model.pt2", "keras": "model.keras", "saved_model": "model"}[kind]
    backend.write(model, graph, path)
    return path


def stated(graph: Graph, *, of_this_size: bool = False) -> Graph:
    """What inference depends on, each padding stated in one way; ``of_this_size`` as the rows that windows reach."""
    skipped: dict[str, str] = {}
    nodes: list[Any] = []
    for node in graph.nodes:
        inputs = tuple(skipped.get(name, name) for name in node.inputs)
        operation: Any = node.operation
        if operation.category is Category.REGULARIZATION:
            skipped[node.name] = inputs[0]
            continue
        changed: dict[str, Any] = dict(operation.training_fields)
        if isinstance(operation, WINDOWS):
            fixed = operation.fixed_padding
            if of_this_size:
                fixed = reached(graph.input_shapes(node)[0], operation, fixed)
            changed |= {} if fixed is None else {"padding": fixed}
            changed |= {"ceil_mode": False} if hasattr(operation, "ceil_mode") and fixed is not None else {}
        if isinstance(operation, ConvTranspose):
            changed["padding"] = operation.crop
        if of_this_size and isinstance(operation, Resize):
            changed |= {"like": False, "scale": None, "size": node.shape[1:]}
            inputs = inputs[:1]
        if isinstance(operation, Multiply):
            # Files state it in float32.
            changed["factor"] = float(np.float32(operation.factor))
        if isinstance(operation, Slice):
            # Which of equal parts, or from where to where: the same at this size.
            start, stop = operation.bounds(graph.input_shapes(node)[0][operation.axis])
            changed |= {"part": None, "parts": None, "start": start, "stop": stop}
        if hasattr(operation, "initial"):
            changed["initial"] = type(operation).model_fields["initial"].default
        nodes.append(node.model_copy(update={"inputs": inputs, "operation": operation.model_copy(update=changed)}))
    outputs = tuple(skipped.get(name, name) for name in graph.outputs)
    return Graph(name=graph.name, input=graph.input, nodes=tuple(nodes), outputs=outputs)


def reached(shape: tuple[int, ...], operation: Any, fixed: Any) -> Any:
    """The rows of padding that windows reach on a map of this shape; fewer than none where they leave rows of it."""
    dilation = getattr(operation, "dilation", None) or (1,) * len(operation.kernel)
    sizes = shape[1:]
    edges = explicit_padding(sizes, operation.kernel, operation.stride, fixed or operation.padding, dilation)
    axes = zip(sizes, operation.kernel, operation.stride, edges, dilation, strict=True)
    return tuple(
        (own[0], overhang(size + own[0], window_count(size, k, s, own, d), k, s, d)) for size, k, s, own, d in axes
    )


def alike(one: Graph, other: Graph) -> bool:
    """Whether two graphs are the same but for names."""
    return same_but_for_names(one, other) or architecture(one, layers=False) == architecture(other, layers=False)


def compared(wanted: Graph, found: Graph) -> tuple[str, str]:
    """How alike a graph that was read is to the one that was written, and what differs."""
    if by_name(found) == by_name(wanted):
        return "equal", ""
    if alike(wanted, found):
        return "names", ""
    for level, same_size in (("inference", False), ("size", True)):
        first, second = (stated(graph, of_this_size=same_size) for graph in (wanted, found))
        if alike(first, second):
            return level, "" if level == "inference" else changes(wanted, found)
    if alike(stated(fold(wanted), of_this_size=True), second):
        return "folded", ""
    return "another", changes(first, second)


def same_form(source: SourceModel, graph: Graph) -> bool:
    """Whether a model and a graph, or the graph with folded normalizations, have one normal form."""
    for own in (graph, fold(graph)):
        with suppress(MismatchError):
            compare_with_source(source, own)
            return True
    return False


def changes(first: Graph, second: Graph) -> str:
    """The operations that only one of two graphs has."""
    one, other = (Counter(operations(graph)) for graph in (first, second))
    return "; ".join([*(f"- {text}" for text in (one - other)), *(f"+ {text}" for text in (other - one))])[:400]


def operations(graph: Graph) -> Iterable[str]:
    """Each operation with what it states."""
    for node in graph.nodes:
        fields = node.operation.model_dump(mode="json", exclude_defaults=True, exclude={"op"})
        yield f"{node.operation.op} {fields} {'of the input' if INPUT in node.inputs else ''}".strip()


def result(name: str, kind: str) -> dict[str, Any]:
    """Write a network, import it, and compare."""
    spec = resnet_spec.load(name)
    graph = spec.to_graph()
    arrays = arrays_of(graph)
    start = time.perf_counter()
    with TemporaryDirectory(prefix="round-trip-") as folder:
        try:
            path = written(kind, graph, arrays, Path(folder))
        except Exception as error:
            return {"written": False, "reason": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:300]}
        middle = time.perf_counter()
        try:
            with patch.object(importer, "known_spec", lambda *_: None):
                imported = import_model(path, input=graph.input.shape)
        except ModelError as error:
            problem = error.problems[0]
            return {
                "problems": len(error.problems),
                "reason": f"{problem.path.partition(' at ')[0]}: {problem.message}"[:300],
            }
        end = time.perf_counter()
        source = imported.source
        level, changed = compared(graph, imported.spec.to_graph())
        if level == "another" and same_form(source, graph):
            level = "form"
        own = Counter(array.tobytes() for array in arrays.values())
        found = Counter(np.ascontiguousarray(array, np.float32).tobytes() for array in source.arrays.values())
        data: dict[str, Any] = {
            "graph": level,
            "changes": changed,
            "named": source.named,
            "arrays": own == found,
            "lines": len(imported.text.splitlines()),
            "shipped": len(spec.to_yaml().splitlines()),
            "stages": bool(imported.spec.data().get("stages")),
            "remarks": list(imported.remarks),
            "seconds": [round(middle - start, 1), round(end - middle, 1)],
        }
        # Layers and weights that are the same in inference give the same logits.
        if level not in ("equal", "names", "inference") or own != found:
            data["difference"] = difference(imported, FORMATS[kind][0])
        return {key: value for key, value in data.items() if value not in ("", [])}


def difference(imported: Any, name: str) -> float:
    """The largest difference of the logits of the spec that was written from the source's, in standard deviations."""
    backend: Any = get_backend(name)
    graph = imported.spec.to_graph()
    # The rounding is the source's alone where this takes no longer.
    dtype = "float64" if name == "torch" else "float32"
    model = backend.compile(graph, dtype=dtype)
    backend.load(model, graph, imported.arrays)
    images = np.random.default_rng(1).standard_normal((2, *graph.input.shape)).astype(np.float32)
    pairs = zip(imported.source.run(images), backend.forward(model, images.astype(dtype)), strict=True)
    return max(float(np.abs(own - ours).max() / own.std()) for own, ours in pairs)


# -- the table ---------------------------------------------------------------------------------------------------------


def passed(found: Mapping[str, Any]) -> bool:
    """Whether the network that was read is the one that was written, in as few lines."""
    return (
        found.get("graph") in ("equal", "names", "inference", "size", "folded", "form")
        and (found["arrays"] or found["graph"] in ("folded", "form"))
        and found["lines"] <= 1.5 * found["shipped"]
        and found.get("difference", 0) <= GATE
    )


LEVELS = {
    "equal": "=",
    "names": "= but for names",
    "inference": "in inference",
    "size": "at this size",
    "folded": "folded",
    "form": "computes the same",
    "another": "≠",
}


def cell(found: Mapping[str, Any] | None) -> str:
    """What the table says of one network and format."""
    if found is None:
        return ""
    if "graph" not in found:
        return "not written" if found.get("written") is False else "no answer" if "failed" in found else "not read"
    text = LEVELS[found["graph"]]
    # A spec of the catalog is more than its own words, which other formats state in theirs.
    return f"{text}, {found['lines']}" + ("" if passed(found) or found["graph"] == "another" else " (!)")


def write(results: Mapping[str, Any]) -> None:
    """Write the table."""
    kinds = [kind for kind in FORMATS if any(key.endswith(f" {kind}") for key in results)]
    names = sorted({key.partition(" ")[0] for key in results})
    total = len(resnet_spec.available())
    heads = "format", "what is written", "tried", "equal", "of them but for names", "in inference", "computes the same"
    lines = [f"| {' | '.join(heads)} | other |"]
    lines.append("|---" * 8 + "|")
    for kind in kinds:
        own = [found for key, found in results.items() if key.endswith(f" {kind}")]
        levels = Counter(found.get("graph", "other") if passed(found) else "other" for found in own)
        good = levels["equal"] + levels["names"]
        rest = levels["inference"] + levels["size"]
        row = f"| `{kind}` | {FORMATS[kind][1]} | {len(own)} of {total} | {good} | {levels['names']} | {rest}"
        lines.append(f"{row} | {levels['folded'] + levels['form']} | {levels['other']} |")
    rows = [
        f"| network | lines shipped | {' | '.join(f'`{kind}`' for kind in kinds)} |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    brief: dict[str, list[str]] = {}
    exceptions = ["| network and format | what is not the same |", "|---|---|"]
    for name in names:
        own = [results.get(f"{name} {kind}") for kind in kinds]
        shipped = next((found["shipped"] for found in own if found and "shipped" in found), "")
        if len(own) > 1 and not any(own[1:]) and own[0] and passed(own[0]):
            brief.setdefault(LEVELS[own[0]["graph"]], []).append(f"{name} ({shipped}, {own[0]['lines']})")
            continue
        rows.append(f"| {name} | {shipped} | {' | '.join(map(cell, own))} |")
        for kind, found in zip(kinds, own, strict=True):
            if found and not passed(found):
                reason = found.get("reason") or found.get("changes") or f"{found['lines']} lines"
                exceptions.append(f"| {name} `{kind}` | {reason.replace('|', '/')[:200]} |")
    text = DOCUMENT.read_text("utf-8").partition(HEADING)[0]
    lists = [
        fill(f"**{level}**: {', '.join(own)}.", 120, break_long_words=False, break_on_hyphens=False)
        for level, own in brief.items()
    ]
    only = f"Tried as `{kinds[0]}` only, with the lines shipped and written:"
    parts = [
        "\n".join(lines),
        "\n".join(rows),
        *([only, *lists] if lists else []),
        "## Exceptions",
        "\n".join(exceptions),
    ]
    DOCUMENT.write_text(f"{text}{HEADING}\n" + "\n\n".join(parts) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--networks", default="*")
    parser.add_argument("--formats", default=",".join(ALL))
    parser.add_argument("--limit", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--failed", action="store_true", help="repeat what has not passed")
    options = parser.parse_args()
    if options.work:
        work(result)
        return
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    end = time.monotonic() + options.limit
    kinds = options.formats.split(",")

    def wanted(name: str, kind: str) -> bool:
        known = results.get(f"{name} {kind}")
        return not known or options.again or (options.failed and not passed(known))

    if options.networks == "representatives":
        names = [name for name in REPRESENTATIVES if name in resnet_spec.available()]
    else:
        names = [name for name in resnet_spec.available() if fnmatch.fnmatch(name, options.networks)]
        names = [name for name in names if any(wanted(name, kind) for kind in kinds)]
        sizes = {name: len(resnet_spec.load(name).to_graph().nodes) for name in names}
        names.sort(key=lambda name: sizes[name])
    workers = {backend: Worker("tests.lab.round_trip", TIME_LIMIT) for backend, _ in FORMATS.values()}
    for name in names:
        for kind in kinds:
            if not wanted(name, kind):
                continue
            if time.monotonic() > end:
                break
            found = workers[FORMATS[kind][0]].ask(name, kind)
            results[f"{name} {kind}"] = found
            print(name, kind, "ok" if passed(found) else json.dumps(found), flush=True)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    for worker in workers.values():
        worker.end()
    write(results)


if __name__ == "__main__":
    main()
