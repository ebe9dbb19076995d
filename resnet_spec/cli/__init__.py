"""The commands ``resnet-build`` and ``resnet-spec``."""
