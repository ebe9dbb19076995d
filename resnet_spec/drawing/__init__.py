"""Draws networks as papers do: stage by stage, equal blocks once, shortcuts as arcs."""

from resnet_spec.drawing.outline import Frame, Outline, Part
from resnet_spec.drawing.page import html, png
from resnet_spec.drawing.svg import svg
from resnet_spec.drawing.text_formats import dot, mermaid

__all__ = ["Frame", "Outline", "Part", "dot", "html", "mermaid", "png", "svg"]
