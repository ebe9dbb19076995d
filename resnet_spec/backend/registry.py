"""How a backend is found: by an entry point in the group ``resnet_spec.backends``.

The core imports no framework; a backend's package is imported when a model is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError, suggest

GROUP = "resnet_spec.backends"

ALIASES = {"tf": "tensorflow", "pytorch": "torch"}


def backend_names() -> tuple[str, ...]:
    """Names of the installed backends, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def find(name: str) -> EntryPoint:
    """The entry point of a backend; raises BackendError where there is none, or two."""
    name = ALIASES.get(name, name)
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        known = backend_names()
        raise BackendError(
            f"no backend is named {name!r}{suggest(name, known)} (installed: {', '.join(known) or 'none'})"
        )
    if len({point.value for point in points}) > 1:
        raise BackendError(f"two packages provide a backend named {name!r}: {', '.join(p.value for p in points)}")
    return points[0]


def readers() -> dict[str, str]:
    """Which installed backend reads which file ending; asked only for a file that the core does not read itself."""
    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        found |= dict.fromkeys(_inputs(point), point.name)
    return found


def writers() -> dict[str, str]:
    """Which installed backend writes which file ending (``""`` for a folder)."""
    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        found |= dict.fromkeys(outputs_of(point), point.name)
    return found


def _inputs(point: EntryPoint) -> Sequence[str]:
    """What a backend reads: its package may say so as ``INPUTS``, where its class comes with the framework."""
    package = import_module(point.module)
    return package.INPUTS if hasattr(package, "INPUTS") else point.load().inputs


def outputs_of(point: EntryPoint) -> Mapping[str, str]:
    """What a backend writes, known before its framework is imported where its package says so."""
    package = import_module(point.module)
    return package.OUTPUTS if hasattr(package, "OUTPUTS") else point.load().outputs


def get_backend(name: str) -> Backend:
    """Import a backend; raises BackendError saying what to install where its framework is missing."""
    point = find(name)
    try:
        backend: Backend = point.load()()
    except ImportError as error:
        raise BackendError(
            f"the {point.name} backend cannot be imported ({error}); pip install 'resnet-spec[{point.name}]'"
        ) from error
    return backend
