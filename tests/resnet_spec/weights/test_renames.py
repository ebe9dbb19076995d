"""A rename is guessed only where it is certain: no wrong guess over many ways in which networks are renamed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from resnet_spec import load
from resnet_spec.weights.renames import likely_renames

Rename = Callable[[str], str]


def substituted(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rename:
    return lambda name: re.sub(pattern, replacement, name)


WAYS: dict[str, Rename] = {
    "a prefix": lambda name: f"a.b.{name}",
    "a suffix": lambda name: f"{name}.data",
    "a shortcut": substituted("downsample", "shortcut"),
    "residual": substituted(r"downsample\.(\d)", r"residual_\1"),
    "blocks from 1": substituted(r"layer(\d)\.(\d+)", lambda m: f"layer{m[1]}.{int(m[2]) + 1}"),
    "stages from 0": substituted(r"layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
    "stages in blocks": substituted(r"layer(\d)\.(\d+)", r"blocks.\2.\1"),
    "w": substituted("weight", "w"),
    "norm": substituted("bn", "norm"),
    "letters": substituted(r"(conv|bn)(\d)", lambda m: f"{m[1]}{chr(96 + int(m[2]))}"),
    "norm in conv": substituted(r"bn(\d)", r"conv\1.norm"),
    "conv from 0": substituted(r"(conv|bn)(\d)", lambda m: f"{m[1]}{int(m[2]) - 1}"),
    "conv backwards": substituted(r"(conv|bn)(\d)", lambda m: f"{m[1]}{4 - int(m[2])}"),
    "mean and var": lambda name: name.replace("running_mean", "mean").replace("running_var", "var"),
    "gamma and beta": substituted(r"(bn\d|downsample\.1)\.weight", r"\1.gamma"),
    "weight and bias": lambda name: name.translate(str.maketrans("wb", "bw")),
    "blocks by letters": substituted(r"layer(\d)\.(\d+)", lambda m: f"res{m[1]}{chr(97 + int(m[2]))}"),
    "one number for all": substituted(r"layer(\d)\.(\d+)", lambda m: f"block{int(m[1]) * 8 + int(m[2])}"),
    "a typing mistake": substituted("layer2.0.conv1.weight", "layer2.0.conv1.wieght"),
    "upper case": str.upper,
}


@pytest.mark.parametrize("spec", ["resnet18", pytest.param("resnet101", marks=pytest.mark.slow), "timm/seresnet50"])
@pytest.mark.parametrize("way", WAYS)
def test_no_guess_is_wrong(spec: str, way: str) -> None:
    shapes = {parameter.name: parameter.shape for parameter in load(spec).to_graph().parameters()}
    rename = WAYS[way]
    # Sorted, as safetensors sorts names.
    renamed = dict(sorted((rename(name), shape) for name, shape in shapes.items()))
    missing = {name: shape for name, shape in shapes.items() if name not in renamed}
    unexpected = {name: shape for name, shape in renamed.items() if name not in shapes}
    guesses = likely_renames(missing, unexpected)

    assert [(name, guess) for name, guess in guesses.items() if rename(name) != guess] == []
    if way in ("a prefix", "stages from 0", "norm in conv", "a typing mistake"):
        assert len(guesses) >= 0.5 * len(missing)


def test_names_without_meaning_are_not_guessed_by_their_position() -> None:
    shapes = {parameter.name: parameter.shape for parameter in load("resnet18").to_graph().parameters()}

    assert likely_renames(shapes, {f"l{index}": shape for index, shape in enumerate(shapes.values())}) == {}


def test_shapes_must_agree() -> None:
    assert likely_renames({"fc.weight": (2, 3)}, {"fc.wieght": (3, 2)}) == {}
    assert likely_renames({"fc.weight": (2, 3)}, {"fc.wieght": (2, 3)}) == {"fc.weight": "fc.wieght"}


def test_of_two_that_are_as_near_none_is_guessed() -> None:
    assert likely_renames({"fc.weight": (2,)}, {"fc.weighx": (2,), "fc.weighy": (2,)}) == {}


def test_many_names_are_not_compared() -> None:
    names = {f"layer{index}.weight": (1,) for index in range(10_000)}

    assert likely_renames(names, {f"x{name}": shape for name, shape in names.items()}) == {}
