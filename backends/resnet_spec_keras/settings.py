"""The framework that Keras runs on, which it reads once, on import."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from resnet_spec.errors import BackendError

VARIABLE = "KERAS_BACKEND"


def check(wanted: str) -> None:
    """Check that Keras runs on a framework, or will once it is imported.

    Raises:
        BackendError: Keras is configured for another framework; the message names the setting and how to change it.
    """
    backend, setting, remedy = _selected(wanted)
    if backend != wanted:
        raise BackendError(
            f"Keras is configured for {backend!r} by {setting}, but this backend needs {wanted!r}; {remedy}"
        )


def choose(wanted: str) -> None:
    """Let Keras run on a framework, unless the program or the user has chosen one already."""
    if "keras" not in sys.modules and not os.environ.get(VARIABLE):
        os.environ[VARIABLE] = wanted


def _selected(wanted: str) -> tuple[str, str, str]:
    """Return the framework that Keras runs on, the setting that selects it, and how to change it."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        remedy = f"set the environment variable {VARIABLE}={wanted} before keras is imported"
        return str(keras.config.backend()), "the program, which has already imported keras", remedy
    # The variable takes precedence over the file, and an empty one counts as unset, as in Keras.
    if variable := os.environ.get(VARIABLE):
        return variable, f"the environment variable {VARIABLE}={variable}", f"unset it or set it to {wanted}"
    path = _config_path()
    remedy = f'set "backend" to "{wanted}" there, or the environment variable {VARIABLE}={wanted}'
    return _configured(path), f"the file {path}", remedy


def _config_path() -> Path:
    if home := os.environ.get("KERAS_HOME"):
        return Path(home).expanduser() / "keras.json"
    home = Path("~").expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "keras.json"  # noqa: S108 (Keras' own rule)


def _configured(path: Path) -> str:
    try:
        config: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        # Keras, too, uses its defaults if the file is missing or broken.
        return "tensorflow"
    if not isinstance(config, dict):
        return "tensorflow"
    return str(cast("dict[str, Any]", config).get("backend", "tensorflow"))
