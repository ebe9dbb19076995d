"""The commands ``resnet-build`` and ``resnet-spec``; each imports what it needs when it runs."""
