"""Regularization: active in training, the identity in inference."""

from __future__ import annotations

from typing import Literal

from resnet_spec.operations.base import BaseOperation, Category
from resnet_spec.operations.fields import Rate


class _Regularization(BaseOperation):
    """The identity in inference.

    Attributes:
        rate: Probability of zeroing, at least 0 and less than 1.
    """

    category = Category.REGULARIZATION

    rate: Rate


class Dropout(_Regularization):
    """Dropout (Srivastava et al. 2014): zeroes elements at random in training and divides the others by 1 - rate.

    In inference it is the identity.
    """

    label = "Dropout"

    op: Literal["dropout"]


class StochasticDepth(_Regularization):
    """Stochastic depth (Huang et al. 2016): zeroes whole samples at random in training.

    The others are divided by 1 - rate. In inference it is the identity.
    """

    label = "StochasticDepth"

    op: Literal["stochastic_depth"]
