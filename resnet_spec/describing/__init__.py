"""Describes networks in words, and what differs between two, by how their layers are connected.

``parts`` finds stem, stages and head, ``blocks`` says what a block is, ``description`` describes a network.
``alignment`` pairs the nodes of two, ``differences`` states in sentences what differs (``changes`` node by node,
``layerwise`` what no sentence covers), ``pairs`` and ``page`` show the pairs. ``networks`` reads what a person names;
``identifying`` describes an unknown file, with ``tensors`` and ``nearest``.
"""

from resnet_spec.describing.description import Description, describe
from resnet_spec.describing.differences import Comparison, compare

__all__ = ["Comparison", "Description", "compare", "describe"]
