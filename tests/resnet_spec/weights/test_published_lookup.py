"""Published weights by name, and whether a text for ``--weights`` names weights or a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import SpecError, WeightsError, load
from resnet_spec.weights.published_lookup import find, is_path

URL = "https://host/file"


def spec(weights: str) -> str:
    return f"extends: resnet18\nweights: {{a: {weights}}}\n"


def test_weights_are_found_by_name_here_and_elsewhere(write: Callable[..., Path]) -> None:
    resnet50 = load("resnet50")
    mine = load(write(spec(f"{{url: {URL}}}"), "mine.yaml"))
    assert find(resnet50, "IMAGENET1K_V2") is resnet50.weights["IMAGENET1K_V2"]
    assert find(mine, "torchvision/resnet50:IMAGENET1K_V2") == resnet50.weights["IMAGENET1K_V2"]
    assert find(mine, "resnet50:IMAGENET1K_V1") == resnet50.weights["IMAGENET1K_V1"]
    assert find(resnet50, "mine.yaml:a").url == URL


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "IMAGENET1K_V3",
            "torchvision/resnet50 has no published weights 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V2'?"
            " (known: IMAGENET1K_V2, IMAGENET1K_V1)",
        ),
        ("keras/resnet50:imagnet", "keras/resnet50 has no published weights 'imagnet'; did you mean 'imagenet'?"
            " (known: imagenet)"),
        ("slim/resnet_v1_50:imagenet", "slim/resnet_v1_50 has no published weights 'imagenet'"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_reported_with_the_known_ones(name: str, wanted: str) -> None:
    with pytest.raises(WeightsError) as caught:
        find(load("resnet50"), name)
    assert str(caught.value) == wanted


def test_an_unknown_spec_is_reported() -> None:
    with pytest.raises(SpecError, match="no shipped spec is named 'torchvison/resnet50'; did you mean 'torchvision/"):
        find(load("resnet50"), "torchvison/resnet50:IMAGENET1K_V2")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("IMAGENET1K_V2", False),
        ("IMAGENET1K_V3", False),
        ("torchvision/resnet50:IMAGENET1K_V2", False),
        ("./IMAGENET1K_V2", True),
        ("folder/file", True),
        ("file.pth", True),
        ("model.ckpt-1000", True),
        ("C:/file", True),
    ],
)
def test_a_path_is_distinguished_from_a_name(
    text: str, path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_path(load("resnet50"), text) is path


def test_where_no_names_are_listed_a_word_is_a_path() -> None:
    assert is_path(load("slim/resnet_v1_50"), "missing")
    assert not is_path(load("slim/resnet_v1_50"), "resnet50:IMAGENET1K_V2")


@pytest.mark.parametrize("file", ["IMAGENET1K_V2", "checkpoint.index", "folder/saved_model.pb"])
def test_a_file_that_is_there_is_a_path(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).touch()
    assert is_path(load("resnet50"), file.removesuffix(".index").removesuffix("/saved_model.pb"))


def test_a_name_that_looks_like_a_path_is_still_a_name(write: Callable[..., Path]) -> None:
    assert not is_path(load(write(f"extends: resnet18\nweights: {{v1.5: {{url: {URL}}}}}\n")), "v1.5")
