"""From another library's model to a spec that is proven to be the same network.

A backend reads the model into a graph (``resnet_spec.backend.source``). ``regions`` finds its stem, blocks and head;
``naming`` names the layers of a source whose names are automatic; ``template`` splits a block into chain and shortcut,
``likeness`` finds blocks that are alike, ``definitions`` makes one block with parameters of those, and ``stages`` rows
of them; ``document`` writes the spec; ``known`` finds the shipped spec that it is; ``proof`` runs the source by its own
library, and compares.
"""

from resnet_spec.importing.importer import ImportedModel, import_model

__all__ = ["ImportedModel", "import_model"]
