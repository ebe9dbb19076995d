"""The errors that a user can cause, each a list of problems with a position.

``exceptions`` defines them, ``extras`` raises the one for a library that is not installed, and ``validation`` turns
pydantic's errors, unknown keys among them, into located problems.
"""

from resnet_spec.errors.exceptions import (
    CONTROLS,
    BackendError,
    DownloadError,
    GraphError,
    HubError,
    ImageError,
    KeyPath,
    LabelsError,
    Locate,
    MissingLibraryError,
    ModelError,
    OutputError,
    Position,
    Problem,
    QuantizationError,
    ResnetSpecError,
    SpecError,
    WeightsError,
    listed,
    one_line,
    printable,
    shown,
    suggest,
    suggest_spelling,
)

__all__ = [
    "CONTROLS",
    "BackendError",
    "DownloadError",
    "GraphError",
    "HubError",
    "ImageError",
    "KeyPath",
    "LabelsError",
    "Locate",
    "MissingLibraryError",
    "ModelError",
    "OutputError",
    "Position",
    "Problem",
    "QuantizationError",
    "ResnetSpecError",
    "SpecError",
    "WeightsError",
    "listed",
    "one_line",
    "printable",
    "shown",
    "suggest",
    "suggest_spelling",
]

# Tracebacks and pickles name the public module.
for _error in (
    ResnetSpecError,
    SpecError,
    GraphError,
    WeightsError,
    ModelError,
    ImageError,
    LabelsError,
    OutputError,
    QuantizationError,
    DownloadError,
    BackendError,
    MissingLibraryError,
):
    _error.__module__ = __name__
