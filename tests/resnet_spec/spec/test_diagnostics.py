"""Mistakes are collected, located, and cut off where they do not end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_spec.spec import diagnostics as reports
from resnet_spec.spec.spec import Spec

Mistakes = Callable[..., list[str]]


def test_mistakes_without_end_are_cut_off(mistakes: Mistakes) -> None:
    layers = "".join(f"  other{number}: rellu\n" for number in range(reports.MAX_PROBLEMS + 50))
    said = mistakes(f"extends: resnet18\nstem:\n{layers}")

    assert len(said) == reports.MAX_PROBLEMS + 1
    assert said[-1] == "too many problems; the rest of the spec is not checked"


def test_plain_data_without_a_file_has_mistakes_without_a_place(lines: Callable[..., list[str]]) -> None:
    spec = Spec.model_validate({"stem": {"a": "rellu"}})

    assert lines(spec.to_graph) == ["stem.a: unknown operation, block or layer 'rellu'; did you mean 'relu'?"]


# -- what is inherited -------------------------------------------------------------------------------------------


def test_a_mistake_in_what_is_inherited_names_the_line_that_inherits_it(mistakes: Mistakes) -> None:
    (found,) = mistakes("description: x\nextends: resnet18\nparameters: {classes: null}\n")

    assert found.startswith("spec.yaml:2:10: head.fc.linear.features: unknown name 'classes' (known: ")
    assert "resnet50.yaml:" in found
    assert found.endswith("; to override it: head: {fc: {linear: {features: …}}})")


def test_what_it_says_to_override_overrides_it(mistakes: Mistakes, lower: Callable[..., object]) -> None:
    (found,) = mistakes("extends: resnet18\nparameters: {classes: null}\n")
    override = found.rpartition("to override it: ")[2].removesuffix(")").replace("…", "10")

    lower(f"extends: resnet18\nparameters: {{classes: null}}\n{override}\n")


def test_a_mistake_in_a_block_of_an_inherited_stage_names_it_too(mistakes: Mistakes) -> None:
    found = mistakes("extends: resnet18\nblocks: {basic_block: {parameters: {width: 4}, main: {a: relu}}}\n")

    said = [line.partition(" (inherited")[0] for line in found if "channels" in line]
    assert said == [
        f"spec.yaml:1:10: stages.layer{n}.channels: unknown key 'channels' of block 'basic_block'; it takes width"
        for n in (1, 2, 3, 4)
    ]


def test_a_layer_that_inherited_parts_expect_is_missed_once(mistakes: Mistakes) -> None:
    (found,) = mistakes("extends: cifar/resnet20\nlayers: {norm: null}\n")
    assert found.startswith("spec.yaml:1:10: stem.bn1: unknown operation, block or layer 'norm'")


def test_an_override_keeps_the_line_that_inherits(mistakes: Mistakes) -> None:
    (found,) = mistakes("extends: resnet18\nparameters: {classes: null}\n", ["input.height=64"])
    assert found.startswith("spec.yaml:1:10: head.fc")


def test_a_mistake_in_a_file_of_ones_own_is_reported_there(mistakes: Mistakes, write: Callable[..., object]) -> None:
    write("stem: {a: {conv2d: {channels: width, kernel: 1}}}\n", "base.yaml")
    (found,) = mistakes("extends: base.yaml\n")
    assert found.startswith("base.yaml:1:31: stem.a.conv2d.channels: unknown name 'width'; did you mean 'in_width'?")
    assert "inherited" not in found


# -- the size of the input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [["input.height=32"], {"input.height": 32}])
def test_shapes_that_do_not_fit_another_size_name_the_size(mistakes: Mistakes, overrides: object) -> None:
    text = "input: {channels: 1, height: 64, width: 64}\nstem: {a: {reshape: {shape: [64, 64]}}, b: {relu: null}}\n"
    (found,) = mistakes(text, overrides)

    assert found == (
        "spec.yaml:2:11: stem.a: cannot reshape 1×32×64 to 64×64, which has another size (from input); "
        "with input.height=32 and input.width=64 instead of the spec's own size"
    )


def test_other_overrides_do_not(mistakes: Mistakes) -> None:
    (found,) = mistakes("stem: {a: {reshape: {shape: [64, 64]}}}\n", ["input.channels=1"])
    assert "input.height" not in found
    (found,) = mistakes("stem: {a: {reshape: {shape: [64, 64]}}, b: frob}\n", ["input.height=32", "stem.a=relu"])
    assert "input.height" not in found
