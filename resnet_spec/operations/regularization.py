"""Operations that act in training only."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import BaseOperation, Category
from resnet_spec.operations.fields import Rate


class _Regularization(BaseOperation):
    """What acts in training only: in inference the value itself."""

    category = Category.REGULARIZATION

    rate: Rate


class Dropout(_Regularization):
    """Elements are zeroed at random in training, each with probability ``rate``, and the others scaled up."""

    label = "Dropout"

    op: Literal["dropout"]


class StochasticDepth(_Regularization):
    """The whole value of an image is zeroed at random in training, with probability ``rate`` (Huang et al. 2016)."""

    label = "StochasticDepth"

    op: Literal["stochastic_depth"]
