"""ResNets as data: a YAML spec becomes a native PyTorch model and a native TensorFlow model that agree.

Nothing below imports a framework until a model is asked for; names are imported when they are first used, so that
``resnet-build --help`` answers at once.
"""

# pyright: basic, reportMissingTypeStubs=false, reportUnsupportedDunderAll=false
import lazy_loader

__version__ = "0.1.0"

# Each name once, in __init__.pyi, where type checkers look too.
__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]
