"""ResNets as data: a YAML spec becomes a native PyTorch model and a native TensorFlow model that agree.

The public names are in ``__init__.pyi``, where type checkers read them too. Each is imported when it is first used, and
no framework before a model is asked for, so that ``import resnet_spec`` and ``resnet-build --help`` are immediate.

Examples:
    >>> import resnet_spec
    >>> graph = resnet_spec.load("resnet50").to_graph()
    >>> resnet_spec.summarize(graph).parameters
    25557032
"""

# pyright: basic, reportMissingTypeStubs=false, reportUnsupportedDunderAll=false
import sys

import lazy_loader

__version__ = "0.1.0"

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import a public name; what is none is reported in Python's own words, with its suggestion."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    return _import(name)
