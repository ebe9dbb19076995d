"""``python -m resnet_spec``: the command ``resnet-spec``."""

from resnet_spec.cli import start_spec

if __name__ == "__main__":
    start_spec()
