"""Photographs: from an image file to the network's input, and from logits to classes."""
