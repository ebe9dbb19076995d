"""Nodes are built with their shapes; what does not fit is reported with where it comes from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_spec.spec import chains
from resnet_spec.spec.catalog import Catalog

Mistakes = Callable[..., list[str]]


INPUT = "input: {channels: 4, height: 8, width: 8}\n"


def test_a_vector_has_features_and_no_size(mistakes: Mistakes) -> None:
    assert mistakes("input: {features: 3}\nstem: {x: {linear: {features: in_channels}}}\n") == [
        "spec.yaml:2:31: stem.x.linear.features: unknown name 'in_channels' (known: in_features)"
    ]


def test_shapes_that_do_not_add_up_name_both_and_where_they_come_from(mistakes: Mistakes) -> None:
    assert mistakes(f"""
        {INPUT}
        stem:
          a: {{conv2d: {{channels: 8, kernel: 3, padding: 1}}}}
          b: {{conv2d: {{channels: 8, kernel: 3}}}}
          sum: {{add: null, from: [a, b]}}
          after: {{linear: {{features: 3}}}}
        """) == ["spec.yaml:6:8: stem.sum: cannot add 8×8×8 and 8×6×6 (from a and b)"]


def test_a_residual_block_that_does_not_add_up_is_reported_where_it_is_used(mistakes: Mistakes) -> None:
    catalog = Catalog.shipped()
    place = catalog.document(catalog.blocks()["bottleneck"]).position(("shortcut",))

    assert mistakes("extends: timm/resnetaa50\ninput: {height: 168}\nstages:\n  layer3: {width: 256}\n") == [
        "spec.yaml:4:11: stages.layer3: cannot add 1024×10×14 and 1024×11×14 (from layer3.0.bn3 and"
        f" layer3.0.downsample.1) (in block 'bottleneck', shortcut at {place})"
    ]


def test_an_input_too_small_for_a_window_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("""
        extends: resnet18
        input: {height: 6, width: 6}
        stem: {conv1: {conv2d: {padding: 0}}}
        """) == [
        "spec.yaml:3:15: stem.conv1: the feature map vanishes: a 7×7 window does not fit an input of 3×6×6 (from input)"
    ]


def test_a_layer_called_again_on_another_shape_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("stem:\n  a: {conv2d: {channels: 8, kernel: 1}}\n  b: {call: a}\n") == [
        "spec.yaml:3:13: stem.b.call: the parameters of 'a' are for an input of [3, 224, 224], not [8, 224, 224]"
        " (from a)"
    ]


def test_layers_of_the_same_name_are_reported(mistakes: Mistakes) -> None:
    (said,) = mistakes("extends: resnet18\nnames: '{index}.{layer}'\nstages: {layer3: null, layer4: null}\n")

    assert "stages.layer2: two layers are named '0.conv1' (in block 'basic_block', main.conv1 at " in said


def test_a_network_of_too_many_layers_is_given_up(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_LAYERS", 30)
    (said,) = mistakes("extends: resnet18\nstages: {layer1: {repeat: 10000}}\n")

    assert "stages.layer1: the network has more than 30 layers" in said


def test_a_network_of_too_many_parameters_is_refused_before_any_is_made(mistakes: Mistakes) -> None:
    assert mistakes("stem: {a: {conv2d: {channels: 1048576, kernel: 4096, padding: 2048}}}\n") == [
        "spec.yaml:1:1: the network has 52,776,558,133,248 parameters, more than 100,000,000,000"
    ]
