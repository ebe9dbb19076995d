"""Finds backends by their entry points in the group ``resnet_spec.backends``.

The core imports no framework; a backend's package is imported when a model is first requested.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from inspect import getmro
from typing import Any

from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError, suggest

GROUP = "resnet_spec.backends"

ALIASES = {"tf": "tensorflow", "pytorch": "torch"}


def backend_names() -> tuple[str, ...]:
    """List the installed backends; none is imported.

    Returns:
        Their names, sorted.

    Examples:
        >>> "torch" in backend_names()
        True
    """
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def versions() -> dict[str, dict[str, str]]:
    """The version of each library that a backend requires, by backend; nothing is imported.

    Of a package with several backends, those are its backend's that it requires for the extra of the same name.
    """
    found: dict[str, dict[str, str]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        required = [text for text in (point.dist and point.dist.requires) or () if "extra ==" in text]
        own = [text for text in required if re.search(rf"extra == ['\"]{re.escape(point.name)}['\"]", text)]
        names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in own]
        if not names and point.dist:
            names = [point.dist.name]
        found[point.name] = {name: _version(name) for name in names}
    return found


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def find(name: str) -> EntryPoint:
    """The entry point of a backend; raises BackendError if there is none, or two."""
    return _find(ALIASES.get(name, name), tuple(sys.path))


# Searching every installed package takes longer than reading small weights. Only what was found is remembered.
@lru_cache
def _find(name: str, _path: tuple[str, ...]) -> EntryPoint:
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
    """Which installed backend reads which file ending; asked only for a file that the core does not read itself.

    A backend that cannot be imported is left out; ``unusable`` states why.
    """
    return _by_ending("inputs")


def writers() -> dict[str, str]:
    """Which installed backend writes which file ending (``""`` for a folder), without those that cannot be imported."""
    return _by_ending("outputs")


def importers() -> dict[str, str]:
    """Which installed backend imports models of which file ending or class, without those that cannot be imported."""
    return _by_ending("imports") | _by_ending("model_classes")


def runtimes(*, quantized: bool = False) -> dict[str, str]:
    """Which installed backend offers which runtime, without those of backends that cannot be imported.

    Those of 8-bit networks only if they are ``quantized``.
    """
    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        with suppress(BackendError):
            kinds = _declared(point, "runtimes")
            found |= {name: point.name for name in kinds if quantized or not kinds[name].quantized}
    return found


def runtime_for(ending: str) -> tuple[str, str] | None:
    """The first runtime that loads a file as its backend writes it, by the file's ending, and the backend."""
    for point in entry_points(group=GROUP):
        with suppress(BackendError):
            for name, kind in dict(_declared(point, "runtimes")).items():
                if ending and kind.ending == ending and not kind.optimized and not kind.quantized:
                    return name, point.name
    return None


def importer_of(model: object) -> str | None:
    """Which installed backend imports an object, by its class; None for one that is not a model."""
    found = importers()
    kinds = getmro(type(model))
    return next((found[name] for kind in kinds if (name := f"{kind.__module__}.{kind.__qualname__}") in found), None)


def unusable() -> list[str]:
    """Why some backends' formats are unknown: a sentence for each whose package cannot be imported."""
    reasons: list[str] = []
    for point in entry_points(group=GROUP):
        try:
            for attribute in ("inputs", "outputs"):
                _declared(point, attribute)
        except BackendError as error:
            reasons.append(str(error))
    return reasons


def outputs_of(point: EntryPoint) -> Mapping[str, str]:
    """What a backend writes, known before its framework is imported where its package declares it.

    Raises BackendError if the package cannot be imported.
    """
    return _declared(point, "outputs")


def get_backend(name: str) -> Backend:
    """Import a backend and its framework.

    Args:
        name: ``"torch"``, ``"tensorflow"`` (or ``"tf"``), ``"jax"``, ``"onnx"``, or the name of another installed
            backend.

    Returns:
        The backend, by whose methods native models are compiled, filled, run, trained, read and written.

    Raises:
        BackendError: No backend or two have that name, or it cannot be imported; the message says what to install.

    Examples:
        >>> get_backend("mxnet")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        resnet_spec.errors.BackendError: no backend is named 'mxnet' (installed: ...)
    """
    point = find(name)
    try:
        backend: Backend = point.load()()
    except BackendError:
        # It says what to change.
        raise
    except Exception as error:
        raise _unusable(point, error) from error
    return backend


def prepare_process(name: str) -> None:
    """Set the environment variables that a backend declares for a process of its own, before it is imported.

    What is wrong with the backend is reported by ``get_backend``.
    """
    with suppress(BackendError):
        os.environ.update(_declared(find(name), "process_settings"))


def share_process(one: str, other: str) -> bool:
    """Whether two backends run in one process: Keras, for example, runs on one framework there."""
    with suppress(BackendError):
        first, second = (dict[str, str](_declared(find(name), "process_settings")) for name in (one, other))
        return all(second.get(name, value) == value for name, value in first.items())
    return True


def _by_ending(attribute: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        # One package that is broken must not take the formats of all others with it.
        with suppress(BackendError):
            for ending in _declared(point, attribute):
                found[ending] = _installed(found[ending], point.name) if ending in found else point.name
    return found


def _installed(first: str, second: str) -> str:
    """The one of two backends whose libraries are installed; if both are, or none is, the second."""
    known = versions()
    lacks_first, lacks_second = ("not installed" in known[name].values() for name in (first, second))
    return first if lacks_second and not lacks_first else second


def _declared(point: EntryPoint, attribute: str) -> Any:
    """What a backend's class declares, or its package (in capitals) if importing the class needs the framework."""
    try:
        package = import_module(point.module)
        constant = attribute.upper()
        if hasattr(package, constant):
            return getattr(package, constant)
        backend = point.load()
        # Not every backend reads files, or models.
        optional = attribute in ("inputs", "imports", "model_classes", "runtimes", "process_settings")
        return () if optional and not hasattr(backend, attribute) else getattr(backend, attribute)
    # Third-party code may raise any exception.
    except Exception as error:
        raise _unusable(point, error) from error


def _unusable(point: EntryPoint, error: Exception) -> BackendError:
    """What to do about a backend whose package or framework raises an error when it is imported."""
    reason = str(error).strip().partition("\n")[0]
    if not isinstance(error, ImportError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        return BackendError(f"the {point.name} backend cannot be used ({reason}); update or uninstall its package")
    package = point.dist
    if package is not None and point.name in (package.metadata.get_all("Provides-Extra") or ()):
        advice = f"pip install '{package.name}[{point.name}]'"
    else:
        advice = f"install what its package, {package.name if package else point.module}, requires"
    return BackendError(f"the {point.name} backend cannot be imported ({reason}); {advice}")
