"""Google's BiT archives: timm's own loader reads the names that our table has, and both networks compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_spec import build, initialize, load
from resnet_spec.weights.converting import convert, find_target

from .gates import GATES
from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402

NAMES = ("resnetv2_50x1_bit", pytest.param("resnetv2_101x1_bit", marks=pytest.mark.slow))


@pytest.mark.parametrize("name", NAMES)
def test_timms_loader_and_ours_read_the_same_archive(name: str, tmp_path: Path) -> None:
    spec = load(f"timm/{name}", {"parameters.classes": 21})
    graph = spec.to_graph()
    rng = np.random.default_rng(0)
    arrays = {n: (a + rng.normal(scale=0.1, size=a.shape)).astype(a.dtype) for n, a in initialize(graph).items()}
    path = tmp_path / "bit.npz"
    convert(graph, arrays, find_target(path), names="bit")
    original = timm.create_model(name, num_classes=21).eval()
    original.load_pretrained(str(path))
    model = build(spec, "torch", weights=path, dtype="float64")

    images = torch.randn(1, 3, 65, 65, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = original.double()(images), model(images)
    assert float((wanted - found).abs().max() / wanted.std()) < GATES["float64"]
    assert all(np.array_equal(original.state_dict()[key].numpy(), array) for key, array in arrays.items())
