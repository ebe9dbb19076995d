"""Makes the records of detectron2's ResNets, and of Caffe2's names by detectron2's own conversion of them.

Run with torch 2.13.0, torchvision 0.28.0, detectron2 0.6 (its Python code; PyPI has it in the source archive
pb1-detectron2), fvcore 0.1.5, iopath, yacs, omegaconf, hydra-core and pycocotools (Python 3.11).
"""

import copy
import sys
from collections import OrderedDict
from unittest.mock import MagicMock

# The compiled operators, of which ResNets use none.
sys.modules["detectron2._C"] = MagicMock()

import torch  # noqa: E402
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names  # noqa: E402
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet  # noqa: E402
from recorded import record_torch  # noqa: E402
from torch import nn  # noqa: E402

LIBRARY = "detectron2 0.6"


def network(blocks, norm, block=BottleneckBlock, classes=5, **options):
    """The ResNet of ``build_resnet_backbone`` with a sixteenth of the channels."""
    stages, inputs = [], 4
    for index, count in enumerate(blocks):
        width = 4 * 2**index
        outputs = width if block is BasicBlock else 4 * width
        own = {} if block is BasicBlock else {"bottleneck_channels": width, **options}
        strides = [2 if index else 1] + [1] * (count - 1)
        stages.append(
            ResNet.make_stage(
                block, count, stride_per_block=strides, in_channels=inputs, out_channels=outputs, norm=norm, **own
            )
        )
        inputs = outputs
    return ResNet(BasicStem(3, 4, norm), stages, num_classes=classes, out_features=None if classes else ["res5"])


PARTS = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}


def caffe2_name(key, words):
    """Caffe2's name of one of detectron2's parameters; ``words`` are those of a normalization's."""
    first, *rest, last = key.split(".")
    blob = {"stem": "conv1", "linear": "pred"}.get(first) or f"{first}_{rest[0]}_{PARTS[rest[1]]}"
    if rest[-1:] == ["norm"]:
        return f"{'res_' if first == 'stem' else ''}{blob}_bn_{words[last]}"
    return f"{blob}_{last[0]}"


def caffe2_names(model, words):
    """The names of Caffe2's file, which detectron2's conversion turns into the model's."""
    keys = [key for key in model.state_dict() if ".norm." not in key or key.rpartition(".")[2] in words]
    names = {caffe2_name(key, words): key for key in keys}
    assert convert_basic_c2_names([*names]) == keys
    return names


if __name__ == "__main__":
    # So that the variances that a frozen normalization starts with are not rounded to float32.
    torch.set_default_dtype(torch.float64)
    deep = 3, 4, 6, 3
    record_torch("detectron2_resnet50", LIBRARY, network(deep, "BN", stride_in_1x1=True))
    record_torch("detectron2_resnet18", LIBRARY, network((2, 2, 2, 2), "BN", BasicBlock))
    backbone = network(deep, "FrozenBN", classes=None, stride_in_1x1=False)
    # As FPN holds it in a detector.
    detector = nn.Sequential(OrderedDict(backbone=nn.Sequential(OrderedDict(bottom_up=backbone))))
    record_torch("detectron2_within", LIBRARY, detector)
    msra = network(deep, "FrozenBN", stride_in_1x1=True)
    for name, words in {
        "": {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"},
        "_long": {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"},
        "_affine": {"weight": "s", "bias": "b"},
    }.items():
        record_torch(f"caffe2_resnet50{name}", LIBRARY, copy.deepcopy(msra), names=caffe2_names(msra, words))
