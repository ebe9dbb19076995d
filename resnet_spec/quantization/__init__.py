"""8-bit networks as data: which values and kernels are quantized, to which grids, and what that computes.

``Quantization`` is the data, ``calibrate`` chooses it from images, and ``IntegerReference`` computes with it in NumPy,
exactly. Backends write it for their runtimes.
"""

from resnet_spec.quantization.calibration import calibrate
from resnet_spec.quantization.form import (
    CalibrationImages,
    Grid,
    Method,
    Quantization,
    covering,
    hash_of,
    kernel_codes,
    kernel_scales,
)
from resnet_spec.quantization.placement import Placement, check, grids_of, is_selecting, place, report_other_weights
from resnet_spec.quantization.reference import IntegerReference, Value, bias_codes

__all__ = [
    "CalibrationImages",
    "Grid",
    "IntegerReference",
    "Method",
    "Placement",
    "Quantization",
    "Value",
    "bias_codes",
    "calibrate",
    "check",
    "covering",
    "grids_of",
    "hash_of",
    "is_selecting",
    "kernel_codes",
    "kernel_scales",
    "place",
    "report_other_weights",
]
