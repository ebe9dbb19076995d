"""Settings that must hold before TensorFlow and Keras are imported, since both read them once, on import."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from resnet_spec.errors import BackendError

# Errors too: a machine without a GPU logs one on every start, and what matters is raised as an exception anyway.
_LOG_LEVEL = "3"


def prepare() -> None:
    """Silence TensorFlow's C++ log, unless the user set its level, and check that Keras runs on TensorFlow.

    Raises:
        BackendError: Keras is configured for another framework; the message names the setting and how to change it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LOG_LEVEL)
    backend, setting, remedy = _selected()
    if backend != "tensorflow":
        raise BackendError(
            f"Keras is configured for {backend!r} by {setting}, but this backend needs 'tensorflow'; {remedy}"
        )


def _selected() -> tuple[str, str, str]:
    """Return the framework that Keras runs on, the setting that selects it, and how to change it."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        remedy = "set the environment variable KERAS_BACKEND=tensorflow before keras is imported"
        return str(keras.config.backend()), "the program, which has already imported keras", remedy
    # The variable takes precedence over the file, and an empty one counts as unset, as in Keras.
    if variable := os.environ.get("KERAS_BACKEND"):
        return variable, f"the environment variable KERAS_BACKEND={variable}", "unset it or set it to tensorflow"
    path = _config_path()
    remedy = 'set "backend" to "tensorflow" there, or the environment variable KERAS_BACKEND=tensorflow'
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
