"""``python -m tests.lab.imported``: import models of torchvision and timm, and write what became of each to the docs.

Each model is imported, built in PyTorch from the spec that was written, and compared with the original in float64. What
a run finds is kept in ``imported.json``, a model at a time; with ``--again`` all are done again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnet_spec import ModelError, get_backend, import_model
from tests.oracles.torchvision_original import models

RESULTS = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parents[2] / "docs" / "imported.md"
HEADING = "## The models\n"

TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mobilenet_v2 mobilenet_v3_small mobilenet_v3_large regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t vgg11 vgg16_bn vit_b_16 wide_resnet50_2
"""
"""One network of each family of classifiers, and a second where its members differ in more than numbers."""

TIMM = """
convnext_atto convnextv2_atto cs3darknet_s cspresnet50 darknet53 densenet121 dla34 dpn68 edgenext_xx_small
efficientnet_b0 efficientnet_lite0 ese_vovnet19b_dw fbnetc_100 gernet_s ghostnet_100 halonet26t hardcorenas_a
hrnet_w18_small inception_next_atto inception_v4 lcnet_050 levit_128s mixnet_s mnasnet_100 mobilenetv2_100
mobilenetv3_large_100 mobilenetv4_conv_small mobileone_s0 nf_regnet_b0 nfnet_l0 poolformer_s12 repghostnet_050
repvgg_a0 resnest14d res2next50 rexnet_100 selecsls42b semnasnet_075 skresnet18 spnasnet_100 starnet_s1
tf_efficientnet_b0 tinynet_e tresnet_m vovnet39a xception41
"""
"""Convolutional networks that were not written for this project, and a few with attention."""

SHAPES = {"tresnet_m": (3, 224, 224), "inception_v3": (3, 299, 299), "inception_v4": (3, 299, 299)}


def original(library: str, name: str) -> torch.nn.Module:
    """A model with weights and statistics that are not those of a constructor."""
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
    return model.eval().double()


def result(library: str, name: str) -> dict[str, Any]:
    """What becomes of a model: the size of its spec and the difference, or the first reason against it."""
    model = original(library, name)
    shape = SHAPES.get(name, (3, 224, 224))
    start = time.perf_counter()
    try:
        imported = import_model(model, input=shape)
    except ModelError as error:
        reason = error.problems[0]
        return {"problems": len(error.problems), "reason": f"{reason.path.partition(' ')[0]}: {reason.message}"[:160]}
    seconds = time.perf_counter() - start
    graph = imported.spec.to_graph()
    backend: Any = get_backend("torch")
    ours = backend.compile(graph, dtype="float64")
    backend.load(ours, graph, imported.arrays)
    images = np.random.default_rng(0).standard_normal((2, *shape))
    (found,) = backend.forward(ours, images)
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    stages = imported.spec.data().get("stages")
    return {
        "lines": len(imported.text.splitlines()),
        "extends": imported.extends,
        "blocks": bool(stages),
        "nodes": len(graph.nodes),
        "difference": float(np.abs(found - wanted).max() / wanted.std()),
        "seconds": round(seconds, 1),
    }


def write(results: dict[str, Any]) -> None:
    """Write the table."""
    rows = ["| model | spec | lines | layers | max \\|Δ\\| / std, float64 |", "|---|---|---|---|---|"]
    reasons = ["| model | the first of what it lacks |", "|---|---|"]
    for name, found in sorted(results.items()):
        if "reason" in found:
            reasons.append(f"| {name} | {found['reason']} |")
        else:
            kind = f"`extends: {found['extends']}`" if found["extends"] else "blocks" if found["blocks"] else "a chain"
            row = f"| {name} | {kind} | {found['lines']} | {found['nodes']} | {found['difference']:.1e} |"
            rows.append(row)
    text = DOCUMENT.read_text("utf-8").partition(HEADING)[0]
    count = f"{len(rows) - 2} of {len(results)} are imported.\n"
    table = "\n".join(rows)
    refused = "\n".join(reasons)
    DOCUMENT.write_text(f"{text}{HEADING}\n{count}\n{table}\n\n## Not imported\n\n{refused}\n", "utf-8")


def main() -> None:
    results: dict[str, Any] = {}
    if RESULTS.exists() and "--again" not in sys.argv:
        results = json.loads(RESULTS.read_text("utf-8"))
    for library, names in (("torchvision", TORCHVISION.split()), ("timm", TIMM.split())):
        for name in names:
            if (key := f"{library}/{name}") not in results:
                results[key] = result(library, name)
                print(key, results[key], flush=True)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    write(results)


if __name__ == "__main__":
    main()
