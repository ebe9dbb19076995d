"""Settings that must hold before TensorFlow and Keras are imported, since both read them once, on import."""

from __future__ import annotations

import os

from resnet_spec_keras import settings

# Errors too: a machine without a GPU logs one on every start, and what matters is raised as an exception anyway.
_LOG_LEVEL = "3"


def prepare() -> None:
    """Silence TensorFlow's C++ log, unless the user set its level, and check that Keras runs on TensorFlow.

    Raises:
        BackendError: Keras is configured for another framework; the message names the setting and how to change it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LOG_LEVEL)
    settings.check("tensorflow")
