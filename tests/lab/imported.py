"""``python -m tests.lab.imported``: import models of torchvision, Keras and timm, and write what became of each.

Each model is imported, built from the spec that was written, and compared with the original. What a run finds is kept
in ``imported.json``, a model at a time, the first of each family before the others; ``--again`` repeats what is
recorded, ``--models PATTERN`` chooses, and ``--limit SECONDS`` ends. docs/imported.md is written from it.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from resnet_spec import ModelError, get_backend, import_model
from tests.lab.worker import Worker, work

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "imported.md"
HEADING = "## The models\n"

TIME_LIMIT = 400
"""Seconds for one model."""

LARGEST = 350
"""Nodes of a graph beyond which a model that is not the first of its family is not run."""

TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mobilenet_v2 mobilenet_v3_small mobilenet_v3_large regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t vgg11 vgg16_bn vit_b_16 wide_resnet50_2
"""
"""One network of each family of classifiers, and a second where its members differ in more than numbers."""

TORCHVISION_REST = """
mnasnet0_75 mnasnet1_0 mnasnet1_3 shufflenet_v2_x0_5 shufflenet_v2_x1_5 shufflenet_v2_x2_0 resnet34 vgg11_bn vgg13
vgg13_bn vgg16 vgg19 vgg19_bn regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf
resnet101 densenet161 densenet169 convnext_small efficientnet_b1 efficientnet_b2 efficientnet_b3 resnet152
resnext101_32x8d resnext101_64x4d wide_resnet101_2 densenet201 regnet_x_8gf regnet_x_16gf regnet_x_32gf regnet_y_8gf
regnet_y_16gf regnet_y_32gf convnext_base efficientnet_b4 swin_v2_t vit_b_32 swin_s swin_b swin_v2_s swin_v2_b
efficientnet_b5 efficientnet_b6 efficientnet_v2_m efficientnet_b7 efficientnet_v2_l convnext_large vit_l_32 vit_l_16
regnet_y_128gf vit_h_14
"""

KERAS = """
MobileNet MobileNetV2 MobileNetV3Small MobileNetV3Large VGG16 ResNet50 ResNet50V2 Xception DenseNet121 EfficientNetB0
EfficientNetV2B0 InceptionV3 ConvNeXtTiny NASNetMobile InceptionResNetV2
"""

KERAS_REST = """
VGG19 ResNet101 ResNet101V2 DenseNet169 EfficientNetB1 EfficientNetV2B1 ResNet152 ResNet152V2 DenseNet201 EfficientNetB2
EfficientNetB3 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2S ConvNeXtSmall EfficientNetB4 ConvNeXtBase
EfficientNetB5 EfficientNetV2M EfficientNetB6 NASNetLarge EfficientNetB7 EfficientNetV2L ConvNeXtLarge ConvNeXtXLarge
"""

TIMM = """
convnext_atto convnextv2_atto cs3darknet_s cspresnet50 darknet53 densenet121 dla34 dpn68 edgenext_xx_small
efficientnet_b0 efficientnet_lite0 ese_vovnet19b_dw fbnetc_100 gernet_s ghostnet_100 halonet26t hardcorenas_a
hrnet_w18_small inception_next_atto inception_v4 lcnet_050 levit_128s mixnet_s mnasnet_100 mobilenetv2_100
mobilenetv3_large_100 mobilenetv4_conv_small mobileone_s0 nf_regnet_b0 nfnet_l0 poolformer_s12 repghostnet_050
repvgg_a0 resnest14d res2next50 rexnet_100 selecsls42b semnasnet_075 skresnet18 spnasnet_100 starnet_s1
tf_efficientnet_b0 tinynet_e tresnet_m vovnet39a xception41
"""
"""Convolutional networks that were not written for this project, and a few with attention."""

FIRST = {"torchvision": TORCHVISION.split(), "keras": KERAS.split(), "timm": TIMM.split()}
REST = {"torchvision": TORCHVISION_REST.split(), "keras": KERAS_REST.split(), "timm": []}

SHAPES = dict.fromkeys(("inception_v3", "inception_v4"), (3, 299, 299))
SHAPE = (3, 224, 224)

# -- the originals -----------------------------------------------------------------------------------------------------


def of_torch(library: str, name: str) -> Any:
    """A model with weights and statistics that are not those of a constructor."""
    import torch

    from tests.oracles.torchvision_original import models

    torch.manual_seed(0)
    if library == "timm":
        models()
        import timm

        model = timm.create_model(name, pretrained=False)
    else:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = getattr(models(), name)(weights=None, **options)
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape) * 0.45 + 0.8)
        elif key.endswith("running_mean"):
            tensor.copy_(torch.rand(tensor.shape) * 0.2 - 0.1)
        elif key.endswith(("layer_scale", "gamma")):
            # A constructor's hide the branch.
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return model.eval().double()


def of_keras(name: str) -> Any:
    """A model of keras.applications, its weights as a constructor makes them but for scales and statistics."""
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    random = np.random.default_rng(0)
    for variable in model.variables:
        word = variable.path.rpartition("/")[2]
        if word in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.8, 1.25, variable.shape))
        elif word in ("beta", "moving_mean"):
            variable.assign(random.uniform(-0.1, 0.1, variable.shape))
    return model


def result(library: str, name: str, run: str) -> dict[str, Any]:
    """What becomes of a model: the size of its spec and the difference, or the first reason against it."""
    model = of_keras(name) if library == "keras" else of_torch(library, name)
    start = time.perf_counter()
    try:
        imported = import_model(model, input=None if library == "keras" else SHAPES.get(name, SHAPE))
    except ModelError as error:
        reason = error.problems[0]
        place = reason.path.partition(" at ")[0] if " at " in reason.path else reason.path
        return {
            "problems": len(error.problems),
            "reason": ": ".join(part for part in (place, reason.message.partition("; state")[0]) if part)[:160],
            "lacks": sorted({f"{p.path.partition(' ')[0]}: {p.message}"[:120] for p in error.problems}),
        }
    seconds = time.perf_counter() - start
    graph = imported.spec.to_graph()
    data = imported.spec.data()
    found = {
        "lines": len(imported.text.splitlines()),
        "extends": imported.extends,
        "blocks": bool(data.get("stages")),
        "nodes": len(graph.nodes),
        "seconds": round(seconds, 1),
    }
    if run == "run" or len(graph.nodes) <= LARGEST:
        found["difference"] = difference(imported, model, library)
    return found


def difference(imported: Any, model: Any, library: str) -> float:
    """The largest difference of the logits, in standard deviations: in float64 for PyTorch, in float32 for Keras."""
    graph = imported.spec.to_graph()
    backend: Any = get_backend("tensorflow" if library == "keras" else "torch")
    dtype = "float32" if library == "keras" else "float64"
    ours = backend.compile(graph, dtype=dtype)
    backend.load(ours, graph, imported.arrays)
    images = np.random.default_rng(0).standard_normal((2, *graph.input.shape)).astype(dtype)
    (found,) = backend.forward(ours, images)
    if library == "keras":
        (wanted,) = imported.source.run(images)
    else:
        import torch

        with torch.no_grad():
            wanted = model(torch.from_numpy(images)).numpy()
    return float(np.abs(found - wanted).max() / wanted.std())


# -- the tables --------------------------------------------------------------------------------------------------------


def write(results: dict[str, Any]) -> None:
    """Write the tables."""
    text = DOCUMENT.read_text("utf-8").partition(HEADING)[0]
    wanted = {library: [*FIRST[library], *REST[library]] for library in FIRST}
    counts: list[str] = []
    for library, names in wanted.items():
        known = [results[f"{library}/{name}"] for name in names if f"{library}/{name}" in results]
        done = sum("lines" in found for found in known)
        rest = f"; {len(names) - len(known)} have not been tried" if len(known) < len(names) else ""
        counts.append(f"- {library}: {done} of {len(known)} are imported{rest}.")
    rows = ["| model | spec | lines | layers | max \\|Δ\\| / std |", "|---|---|---|---|---|"]
    reasons = ["| model | the first of what it lacks |", "|---|---|"]
    for name, found in sorted(results.items()):
        if "lines" in found:
            kind = f"`extends: {found['extends']}`" if found["extends"] else "blocks" if found["blocks"] else "a chain"
            shown = f"{found['difference']:.1e}" if "difference" in found else "structure only"
            rows.append(f"| {name} | {kind} | {found['lines']} | {found['nodes']} | {shown} |")
        else:
            reasons.append(f"| {name} | {found['reason'].replace('|', '/')} |")
    lacks = Counter(text for found in results.values() for text in found.get("lacks", []))
    unlocking = ["| what the language lacks | models |", "|---|---|"]
    unlocking += [f"| {text.replace('|', '/')} | {count} |" for text, count in lacks.most_common(15)]
    parts = ["\n".join(counts), "\n".join(rows), "## Not imported", "\n".join(reasons)]
    parts += ["## What would unlock the rest", "\n".join(unlocking)]
    DOCUMENT.write_text(f"{text}{HEADING}\n" + "\n\n".join(parts) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--models", default="*")
    parser.add_argument("--limit", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    if options.work:
        work(result)
        return
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    end = time.monotonic() + options.limit
    workers = {library: Worker("tests.lab.imported", TIME_LIMIT) for library in FIRST}
    order = [(key, "run") for library in FIRST for key in (f"{library}/{name}" for name in FIRST[library])]
    order += [(key, "structure") for library in REST for key in (f"{library}/{name}" for name in REST[library])]
    for key, run in order:
        if not fnmatch.fnmatch(key, options.models) or (key in results and not options.again):
            continue
        if time.monotonic() > end:
            break
        library, _, name = key.partition("/")
        results[key] = workers[library].ask(library, name, run)
        print(key, results[key], flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    for worker in workers.values():
        worker.end()
    write(results)


if __name__ == "__main__":
    main()
