"""Makes the records of kuangliu/pytorch-cifar's ResNets.

Run with torch 2.13.0 and, on the path, the repository's models/resnet.py at commit
0acfbc16e60efe8e4b6666196d4111206db29254, which no package has.
"""

from recorded import record_torch
from resnet import BasicBlock, Bottleneck, ResNet
from torch import nn


class Narrow(ResNet):
    """The repository's network, whose widths cannot be set, with a sixteenth of them in its blocks."""

    def _make_layer(self, block, planes, *arguments, **options):
        return super()._make_layer(block, planes // 16, *arguments, **options)


def network(block, blocks):
    model = Narrow(block, blocks)
    model.linear = nn.Linear(32 * block.expansion, 10)
    # As main.py saves it on a GPU.
    return nn.DataParallel(model)


if __name__ == "__main__":
    for name, model in {
        "resnet18": network(BasicBlock, [2, 2, 2, 2]),
        "resnet50": network(Bottleneck, [3, 4, 6, 3]),
    }.items():
        record_torch(f"kuangliu_{name}", "kuangliu/pytorch-cifar", model, sizes=(32,))
