"""Draws networks as papers do: stage by stage, equal blocks once, shortcuts as arcs."""

from resnet_spec.drawing.outline import Frame, Outline, Part
from resnet_spec.drawing.svg import svg

__all__ = ["Frame", "Outline", "Part", "svg"]
