"""Makes the records of OpenMMLab's ResNets.

Run with torch 2.13.0 and, installed without their dependencies, mmpretrain 1.2.0, mmdet 3.3.0, mmengine 0.10.7,
mmcv-lite 2.1.0 and the pure Python packages that they ask for (Python 3.11). The networks are their own classes with
a sixteenth of the channels.
"""

import sys
from collections import OrderedDict
from unittest.mock import MagicMock

# mmcv-lite lacks the compiled operators that mmdet imports; ResNets use none of them.
sys.modules["mmcv._ext"] = MagicMock()

import mmdet.models  # noqa: E402, F401
import mmpretrain.models  # noqa: E402, F401
from mmdet.registry import MODELS as DETECTION  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402
from recorded import record_torch  # noqa: E402
from torch import nn  # noqa: E402

WIDTHS = {"base_channels": 4, "stem_channels": 4}


def classifier(kind, depth, **options):
    channels = 32 if depth < 50 else 128
    return MODELS.build(
        {
            "type": "ImageClassifier",
            "backbone": {"type": kind, "depth": depth, **WIDTHS, **options},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 5, "in_channels": channels},
        }
    )


def backbone(kind, depth, **options):
    built = DETECTION.build({"type": kind, "depth": depth, "out_indices": (3,), **WIDTHS, **options})
    # As a detector holds it.
    return nn.Sequential(OrderedDict(backbone=built))


if __name__ == "__main__":
    for name, model in {
        "resnet18": classifier("ResNet", 18),
        "resnet50": classifier("ResNet", 50),
        "resnet50c": classifier("ResNetV1c", 50),
        "resnet50d": classifier("ResNetV1d", 50),
        "resnext50": classifier("ResNeXt", 50, groups=2, width_per_group=2),
        "seresnet50": classifier("SEResNet", 50, se_ratio=4),
    }.items():
        record_torch(f"mmpretrain_{name}", "mmpretrain 1.2.0", model)
    for name, model in {
        "resnet50": backbone("ResNet", 50),
        "resnet50c": backbone("ResNet", 50, deep_stem=True),
        "resnet50d": backbone("ResNetV1d", 50),
    }.items():
        record_torch(f"mmdet_{name}", "mmdet 3.3.0", model)
