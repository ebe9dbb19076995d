"""Each of PyTorch's files is read, and the network computes what the one that was saved computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from resnet_spec import WeightsError, build, load, read_weights
from resnet_spec.weights.identification import identify
from tests.oracles.gates import GATES
from tests.oracles.torchvision_original import models, randomized
from tests.wild.torch_cases import CASES, TorchCase

OVERRIDES = {"parameters.classes": 10}
SIZES = (64, 67)


@pytest.fixture(scope="module")
def original() -> nn.Module:
    """torchvision's ResNet-18 with random weights and statistics."""
    graph = load("torchvision/resnet18", OVERRIDES).to_graph().at_size(64, 64)
    return randomized(graph, lambda: models().resnet18(num_classes=10))


@pytest.mark.parametrize("case", [case for case in CASES if case.why], ids=lambda case: case.title)
def test_a_file_that_cannot_be_the_networks_is_refused(case: TorchCase, original: nn.Module, tmp_path: Path) -> None:
    path = case.make(original, tmp_path)

    with pytest.raises(WeightsError, match=case.refused):
        read_weights(path, load("torchvision/resnet18", OVERRIDES).to_graph())


NEAR = ("cifar/resnet18", "timm/resnet18d", "torchvision/resnet18", "torchvision/resnet34")
"""What a wrapped ResNet-18 must not be taken for, among itself."""


QUICK = frozenset(
    {"a state_dict", "a whole pickled model", "a TorchScript program", "detectron2's names", "NumPy's archive"}
)
"""One of each kind; the others take a second each."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.title, marks=() if case.title in QUICK or case.refused else pytest.mark.slow)
        for case in CASES
        if not case.why
    ],
)
def test_a_file_is_read_and_the_logits_are_the_originals(
    case: TorchCase, original: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load("torchvision/resnet18", {**OVERRIDES, **case.overrides})
    path = case.make(original, tmp_path)
    if case.refused:
        with pytest.raises(WeightsError, match=case.refused):
            read_weights(path, spec.to_graph())
    model = build(spec, "torch", weights=path, **case.options)
    reference = original if not case.overrides else nn.Sequential(*list(original.children())[:-2])

    for size in SIZES:
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            wanted, found = reference(images), model(images)
        gate = 1e-2 if case.options.get("adapt") == "half" else GATES["float32"]
        assert float((wanted - found).abs().max() / wanted.std()) < gate
    monkeypatch.setattr("resnet_spec.weights.identification.available", lambda: NEAR)
    match = identify(path)[0]
    expected = "parameters.classes=10" if "head" not in case.overrides else "head=null"
    assert (match.spec, match.fits, match.overrides) == ("torchvision/resnet18", True, (expected,))
    assert not (tmp_path / "attacked").exists()
