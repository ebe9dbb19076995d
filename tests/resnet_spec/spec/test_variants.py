"""Any shipped network otherwise: a backbone, with taps, dilated, other channels and classes, by overrides alone."""

from __future__ import annotations

import pytest

from resnet_spec import available, load
from resnet_spec.errors import SpecError
from resnet_spec.graph import Graph
from tests.shipped import SAMPLE, slow_unless

IMAGENET = ("keras", "msra", "slim", "timm", "torchvision", "tutorial")
"""Families whose networks are made for images of some hundred pixels, and halve them five times."""


def graph_of(name: str, *overrides: str) -> Graph:
    return load(name, overrides).to_graph()


NAMES = [
    "cifar/preact_resnet110",
    "cifar/preact_resnet164",
    "cifar/resnet18",
    "cifar/resnet20",
    "cifar/resnet50",
    "cifar/resnext29_16x64d",
    "cifar/wrn_16_8",
    "faces/iresnet18",
    "image_classifiers/resnet18",
    "image_classifiers/seresnet18",
    "keras/resnet50",
    "keras/resnet50v2",
    "keras_hub/resnet_18",
    "keras_hub/resnet_50",
    "keras_hub/resnet_v2_50",
    "keras_hub/resnet_vd_18",
    "keras_hub/resnet_vd_50",
    "mirror/decoder18",
    "mirror/decoder50",
    "mirror/encoder18",
    "mirror/encoder50",
    "monai/resnet10",
    "monai/resnet18_a",
    "monai/resnet50",
    "msra/resnet50",
    "pytorchcv/airnet50_1x64d_r2",
    "pytorchcv/bam_resnet18",
    "pytorchcv/cbam_resnet18",
    "pytorchcv/diracnet18v2",
    "pytorchcv/ibn_resnet50",
    "pytorchcv/preresnet18",
    "pytorchcv/resneta50b",
    "signals/tsc_resnet",
    "simclr/r50_2x_sk1",
    "slim/resnet_v1_50",
    "slim/resnet_v2_50",
    "smp/deeplabv3plus_resnet34",
    "smp/unet_resnet34",
    "swav/resnet50w2",
    "timm/bat_resnext26ts",
    "timm/eca_resnet33ts",
    "timm/eca_resnext26ts",
    "timm/ecaresnet26t",
    "timm/ecaresnetlight",
    "timm/gcresnet33ts",
    "timm/gcresnet50t",
    "timm/gcresnext26ts",
    "timm/legacy_seresnet18",
    "timm/legacy_seresnet50",
    "timm/legacy_seresnext26_32x4d",
    "timm/nf_ecaresnet26",
    "timm/nf_regnet_b0",
    "timm/nf_resnet26",
    "timm/nf_seresnet26",
    "timm/regnetv_040",
    "timm/regnetv_064",
    "timm/regnetx_002",
    "timm/regnety_002",
    "timm/regnety_040_sgn",
    "timm/regnetz_005",
    "timm/regnetz_b16",
    "timm/regnetz_b16_evos",
    "timm/regnetz_d32",
    "timm/res2net50_48w_2s",
    "timm/res2net50d",
    "timm/resnest14d",
    "timm/resnest50d_1s4x24d",
    "timm/resnet10t",
    "timm/resnet14t",
    "timm/resnet18",
    "timm/resnet26",
    "timm/resnet32ts",
    "timm/resnet50_clip",
    "timm/resnet50_clip_gap",
    "timm/resnet50_gn",
    "timm/resnet50_mlp",
    "timm/resnet50c",
    "timm/resnet51q",
    "timm/resnet61q",
    "timm/resnetaa34d",
    "timm/resnetaa50",
    "timm/resnetaa50d",
    "timm/resnetblur18",
    "timm/resnetblur50",
    "timm/resnetblur50d",
    "timm/resnetrs50",
    "timm/resnetv2_18",
    "timm/resnetv2_18d",
    "timm/resnetv2_50",
    "timm/resnetv2_50d",
    "timm/resnetv2_50d_evos",
    "timm/resnetv2_50d_frn",
    "timm/resnetv2_50d_gn",
    "timm/resnetv2_50x1_bit",
    "timm/resnext26ts",
    "timm/senet154",
    "timm/seresnet18",
    "timm/seresnet33ts",
    "timm/seresnet50",
    "timm/seresnetaa50d",
    "timm/seresnext26d_32x4d",
    "timm/seresnext26ts",
    "timm/skresnet18",
    "timm/skresnet50d",
    "timm/skresnext50_32x4d",
    "timm/test_resnet",
    "torchvision/deeplabv3_resnet50",
    "torchvision/fcn_resnet50",
    "torchvision/mc3_18",
    "torchvision/r2plus1d_18",
    "torchvision/regnet_x_800mf",
    "torchvision/regnet_y_800mf",
    "torchvision/resnet18",
    "torchvision/resnet18_fpn",
    "torchvision/resnet50",
    "tutorial/resnet18",
]
"""The smallest network of each family and set of blocks and operations."""

DILATED = [name for name in NAMES if "output_stride" in load(name).parameters]
# A network around another one has the stages of its part.
IMAGES = [name for name in NAMES if not name.startswith("mirror/decoder") and load(name).stages]


@pytest.mark.slow
def test_the_networks_are_the_smallest_of_each_kind() -> None:
    kinds: dict[object, tuple[int, str]] = {}
    for name in available():
        graph = graph_of(name)
        operations = frozenset(node.operation.op for node in graph.nodes)
        # A network within another one is in a scope with the name of its spec.
        blocks = frozenset(scope.block for scope in graph.scopes if "/" not in (scope.block or ""))
        kind = name.partition("/")[0], operations, blocks
        kinds[kind] = min(kinds.get(kind, (10**6, "")), (len(graph.nodes), name))
    assert sorted(name for _, name in kinds.values()) == NAMES


@pytest.mark.parametrize("name", slow_unless(SAMPLE, IMAGES))
def test_a_backbone_ends_in_a_map_and_may_be_pooled(name: str) -> None:
    whole, backbone = graph_of(name), graph_of(name, "head=null")
    (last,) = backbone.outputs
    channels, *size = backbone.by_name[last].shape
    assert min(size) > 1 or backbone.input.height <= 32
    names = {parameter.name for parameter in backbone.parameters()}
    own = {parameter.name for parameter in whole.parameters()}
    # Without classes the head only pools.
    assert names == own if load(name).parameters.get("classes") == 0 else names < own
    for pool in ("global_avg_pool", "global_max_pool"):
        pooled = graph_of(name, f"head={{pool: {pool}, flatten: flatten}}")
        assert pooled.by_name[pooled.outputs[0]].shape == (channels,)


@pytest.mark.parametrize("name", slow_unless(SAMPLE, IMAGES))
def test_features_are_the_end_of_the_stems_stride_2_part_and_of_each_stage(name: str) -> None:
    spec = load(name, ["outputs=features"])
    graph = spec.to_graph()
    strides = [graph.stride(output) for output in graph.outputs]
    stages = [scope.output for scope in graph.scopes if scope.kind == "stage"]
    assert list(graph.outputs[-len(stages) :]) == stages
    if name.partition("/")[0] in IMAGENET and len(graph.input.shape) == 3:
        # Where a stage's last block strides, its end is as coarse as the next one's.
        late = any(stage.stride_in == "last" for stage in spec.stages.values())
        assert strides == [(s, s) for s in ((2, 8, 16, 32, 32) if late else (2, 4, 8, 16, 32))]


@pytest.mark.parametrize("name", slow_unless(SAMPLE, DILATED))
def test_an_output_stride_of_8_or_16_dilates_and_keeps_the_parameters(name: str) -> None:
    whole = graph_of(name, "outputs=features")
    for stride in (16, 8):
        graph = graph_of(name, "outputs=features", f"parameters.output_stride={stride}")
        for before, now in zip(whole.outputs, graph.outputs, strict=True):
            assert graph.stride(now) == min(whole.stride(before) or (0, 0), (stride, stride))
        assert [p[:2] for p in graph.parameters()] == [p[:2] for p in whole.parameters()]
        dilations = {getattr(node.operation, "dilation", (1, 1)) for node in graph.nodes}
        # The first block of a dilated stage has the dilation before it, and may be the only one.
        assert max(dilations) >= (16 // stride, 16 // stride)


@pytest.mark.parametrize("name", slow_unless(SAMPLE, DILATED))
def test_no_other_output_stride_is_taken(name: str) -> None:
    with pytest.raises(SpecError, match="8, 16 or 32"):
        graph_of(name, "parameters.output_stride=4")


@pytest.mark.parametrize("name", slow_unless(SAMPLE, NAMES))
def test_channels_and_classes_are_an_override_each(name: str) -> None:
    if name.startswith("mirror/decoder"):
        graph = graph_of(name, "input.features=64")
        assert graph.input.shape == (64,)
        return
    classes = next(word for word in ("classes", "features") if word in load(name).parameters)
    graph = graph_of(name, "input.channels=5", f"parameters.{classes}=7")
    assert next(parameter for parameter in graph.parameters() if parameter.role == "conv_kernel").shape[1] == 5
    assert graph.by_name[graph.logits].shape[0] == 7
