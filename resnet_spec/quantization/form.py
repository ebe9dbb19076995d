"""The data of an 8-bit network: the grid of each value and kernel that is quantized, and how they were chosen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from resnet_spec.errors import Problem, QuantizationError
from resnet_spec.errors.validation import Frozen, invalid_values, matching

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOW, HIGH = -128, 127
"""The codes of a quantized value."""

KERNEL_HIGH, REDUCED_HIGH = 127, 63
"""The largest code of a kernel, and minus the smallest, since a kernel's grid is symmetric; and that of one of 7 bits.

Of 7 bits two products fit in 16 bits together, in which processors without instructions for 8-bit networks add them.
"""

Method = Literal["minmax", "percentile", "mse", "entropy"]
SMALLEST, LARGEST = 2.0**-126, 3.4028234663852886e38
"""Of float32's normal numbers; runtimes may take smaller ones for 0."""

Step = Annotated[float, Field(strict=True, ge=SMALLEST, le=LARGEST, allow_inf_nan=False)]
Code = Annotated[int, Field(strict=True, ge=LOW, le=HIGH)]
Hash = Annotated[str, matching(r"^[0-9a-f]{64}$", "64 hexadecimal digits")]

MAX_BYTES = 2**26
"""The largest file that is read; that of a network with a thousand layers has a few MB."""


class Grid(Frozen):
    """The 256 numbers that a quantized value can have: scale · (code - zero_point), for codes from -128 to 127.

    Attributes:
        scale: The distance of two neighbors; a number of float32, which is the type that runtimes keep it in.
        zero_point: The code of 0.

    Examples:
        >>> import numpy as np
        >>> from resnet_spec.quantization import Grid
        >>> grid = Grid(scale=0.5, zero_point=-128)
        >>> grid.codes(np.array([0.0, 0.75, 3.1, -1.0])).tolist()
        [-128, -126, -122, -128]
        >>> grid.rounded(np.array([0.0, 0.75, 3.1, -1.0])).tolist()
        [0.0, 1.0, 3.0, 0.0]
    """

    scale: Step
    zero_point: Code

    def codes(self, values: NDArray[Any]) -> NDArray[Any]:
        """The codes of the nearest numbers of the grid; of two that are as near, the one with the even code.

        Args:
            values: Real numbers.

        Returns:
            int8, of the same shape.
        """
        import numpy as np

        steps = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return steps.clip(LOW, HIGH).astype(np.int8)

    def values(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The numbers that codes stand for.

        Args:
            codes: Whole numbers.

        Returns:
            float64, of the same shape.
        """
        import numpy as np

        return (np.asarray(codes, np.float64) - self.zero_point) * self.scale

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """The nearest numbers of the grid.

        Args:
            values: Real numbers.

        Returns:
            float64, of the same shape.
        """
        return self.values(self.codes(values))

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest number of the grid."""
        return (LOW - self.zero_point) * self.scale, (HIGH - self.zero_point) * self.scale


def covering(low: float, high: float) -> Grid:
    """The finest grid that contains 0 and covers a range.

    Args:
        low: The smallest number.
        high: The largest number.

    Returns:
        The grid; if the range is nothing but 0, its scale is 1/255.

    Examples:
        >>> from resnet_spec.quantization import covering
        >>> covering(0.0, 25.5)
        Grid(scale=0.10000000149011612, zero_point=-128)
    """
    import numpy as np

    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low or 1.0) / (HIGH - LOW), SMALLEST)))
    if not np.isfinite(scale):
        raise QuantizationError(f"no grid of float32 covers the numbers from {low:g} to {high:g}")
    return Grid(scale=scale, zero_point=int(np.clip(np.rint(LOW - low / scale), LOW, HIGH)))


class CalibrationImages(Frozen):
    """The images whose values determined the grids.

    Attributes:
        count: Their number.
        sha256: The hash of the preprocessed images in order, as float32 in C order.
    """

    count: Annotated[int, Field(strict=True, ge=1)]
    sha256: Hash


class Quantization(Frozen):
    """An 8-bit network as data. It is about the graph that ``optimize`` returns, whose normalizations are folded.

    A value that is listed is rounded to its grid once it is computed, and a kernel that is listed to its own; the bias
    of a layer whose input and kernel are both quantized is rounded to multiples of the product of their scales.
    Everything else is computed in float. A runtime that has both inputs and the output of a layer on grids computes the
    layer in integers. A value that is only selected or moved (by a max pool or a flatten) keeps the grid of its origin.

    Attributes:
        format: The version of this format.
        network: The name of the spec.
        fingerprint: The fingerprint of the spec's graph.
        weights: The hash of the weights (``hash_of``), or None: of unknown ones, which are not compared.
        method: How the range of each value was chosen.
        images: What was calibrated with.
        kept: Patterns of the names of nodes that were kept in float by request.
        values: The grid of each quantized value, by the name of its node, or ``input``.
        kernels: The scale of each output channel of each quantized kernel, by the name of the parameter. The grid is
            symmetric: scale · code, for codes from -127 to 127.
    """

    format: Literal[1] = 1
    network: Annotated[str, Field(max_length=200)]
    fingerprint: Hash
    weights: Hash | None = None
    method: Method
    images: CalibrationImages
    kept: tuple[str, ...] = ()
    values: dict[str, Grid]
    kernels: dict[str, Annotated[tuple[Step, ...], Field(min_length=1)]]

    def __repr__(self) -> str:
        """Say in a line what is quantized."""
        return f"Quantization({self.network!r}, {len(self.values)} values, {len(self.kernels)} kernels, {self.method})"

    __str__ = __repr__

    def remark_on(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """What to say of weights, which may be trained further, or others by mistake.

        Args:
            arrays: Those of the optimized graph.

        Returns:
            A line if they are not the weights of the calibration; else nothing.

        Examples:
            >>> import numpy as np
            >>> import resnet_spec
            >>> arrays = resnet_spec.initialize(resnet_spec.load("cifar/resnet20").to_graph())
            >>> found = resnet_spec.quantize("cifar/resnet20", arrays, np.ones((1, 3, 32, 32)))
            >>> found.remark_on({"fc.bias": np.zeros(10)}).partition(" with the weights")[0]
            'the 8-bit grids of cifar/resnet20 were chosen'
        """
        if self.weights is None or (found := hash_of(arrays)) == self.weights:
            return ""
        return (
            f"the 8-bit grids of {self.network} were chosen with the weights {self.weights[:8]}, and these are"
            f" {found[:8]}: repeat 'resnet-spec quantize' with these, or set \"weights\": null in the file to keep its"
            " grids for any"
        )

    def to_json(self) -> str:
        """The text of a file: indented, each grid and each kernel in a line.

        Returns:
            JSON that ``read`` reads.

        Examples:
            >>> import numpy as np
            >>> import resnet_spec
            >>> arrays = resnet_spec.initialize(resnet_spec.load("cifar/resnet20").to_graph())
            >>> found = resnet_spec.quantize("cifar/resnet20", arrays, np.ones((1, 3, 32, 32)))
            >>> found.to_json().splitlines()[1:3]
            ['  "format": 1,', '  "network": "cifar/resnet20",']
        """
        data = self.model_dump(mode="json")
        parts = {name: data.pop(name) for name in ("values", "kernels")}
        lines = [json.dumps(data, indent=2, ensure_ascii=False)[:-2] + ","]
        for name, part in parts.items():
            rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in part.items())
            lines.append(f"  {json.dumps(name)}: {{\n{rows}\n  }}" + ("," if name == "values" else "\n}"))
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, path: str | Path) -> Quantization:
        """Read a file that ``to_json`` wrote, perhaps edited since.

        Args:
            path: The file.

        Returns:
            What it states.

        Raises:
            QuantizationError: With everything that is wrong with the file.

        Examples:
            >>> from resnet_spec import Quantization
            >>> Quantization.read("none.json")
            Traceback (most recent call last):
            resnet_spec.errors.QuantizationError: none.json: no such file
        """
        path = Path(path)
        try:
            if not path.is_file():
                raise QuantizationError(f"{path}: {'is not a regular file' if path.exists() else 'no such file'}")
            if path.stat().st_size > MAX_BYTES:
                raise QuantizationError(f"{path}: has more than {MAX_BYTES // 2**20} MiB")
            data = json.loads(path.read_bytes(), object_pairs_hook=_without_duplicates)
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, QuantizationError):
                raise
            raise QuantizationError(f"{path}: is not a file of 'resnet-spec quantize' ({error})") from None
        if not isinstance(data, dict):
            raise QuantizationError(f"{path}: is not a file of 'resnet-spec quantize' (it is a list or a single value)")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problems = [invalid.problem() for invalid in invalid_values(error, data, cls)]
            raise QuantizationError([Problem(f"{path.name}: {p.message}", p.path) for p in problems]) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def hash_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The SHA-256 of weights: of each array in the order of the names its name, shape and float32 numbers in C order.

    Args:
        arrays: The arrays of an optimized graph.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> import numpy as np
        >>> from resnet_spec.quantization import hash_of
        >>> hash_of({"fc.bias": np.zeros(2)})[:8] == hash_of({"fc.bias": np.zeros(2, "float32")})[:8]
        True
    """
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], "<f4")
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def kernel_codes(kernel: NDArray[Any], scales: tuple[float, ...]) -> NDArray[Any]:
    """The codes of a kernel, (channels, ...): the nearest multiples of each channel's scale.

    Args:
        kernel: The kernel, in PyTorch's layout.
        scales: One scale for each output channel.

    Returns:
        int8, of the same shape.

    Examples:
        >>> import numpy as np
        >>> from resnet_spec.quantization import kernel_codes
        >>> kernel_codes(np.array([[0.5, -1.0], [2.0, 9.0]]), (0.5, 1.0)).tolist()
        [[1, -2], [2, 9]]
    """
    import numpy as np

    by_channel = np.asarray(scales, np.float64).reshape(-1, *[1] * (kernel.ndim - 1))
    return np.rint(kernel.astype(np.float64) / by_channel).clip(-KERNEL_HIGH, KERNEL_HIGH).astype(np.int8)


def kernel_scales(kernel: NDArray[Any], high: int = KERNEL_HIGH) -> tuple[float, ...]:
    """The finest scale for each output channel of a kernel that loses no number beyond the largest code.

    Args:
        kernel: The kernel, (channels, ...).
        high: The largest code: 127, or 63 for processors that add two products in 16 bits.

    Returns:
        One scale for each channel; that of a channel of ones for one of zeros only.

    Examples:
        >>> import numpy as np
        >>> from resnet_spec.quantization import kernel_scales
        >>> kernel_scales(np.array([[127.0, -1.0], [0.5, -254.0]]))
        (1.0, 2.0)
    """
    import numpy as np

    largest = np.abs(kernel.astype(np.float64)).reshape(len(kernel), -1).max(axis=1)
    return tuple(float(scale) for scale in np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(high))
