"""Networks of other libraries as records: the names and shapes of their parameters, and what they compute.

Every value follows from its parameter's name, so that a record needs none of them. The scripts beside this module make
the records; they and this module need NumPy only, besides the library.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
POSITIVE = ("weight", "gamma", "_s", "running_var", "moving_variance", "running_std", "running_std_1", "_riv")
"""The ends of the names of scales and variances."""


Shape = tuple[int, ...]


class Recorded(NamedTuple):
    """A network as its library named it, and its logits (or last feature map) by the images' size."""

    library: str
    shapes: dict[str, Shape]
    outputs: dict[int, Any]


def value(name: str, shape: Shape, *, inputs_last: bool = False) -> Any:
    """A parameter's float64 values, whose float32 is exact; ``inputs_last`` is TensorFlow's order of axes."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    last = name.rpartition(".")[2].rpartition("/")[2].partition(":")[0]
    if not shape or last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if len(shape) > 1:
        fan_in = np.prod(shape[:-1] if inputs_last else shape[1:])
        values = random.normal(0, (1.5 / fan_in) ** 0.5, shape)
    elif last.endswith(POSITIVE):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.normal(0, 0.1, shape)
    return values.astype("float32").astype("float64")


def images(size: int) -> Any:
    """Two images of a size, NCHW, whose float32 is exact."""
    return np.random.default_rng(size).normal(size=(2, 3, size, size)).astype("float32").astype("float64")


def record(
    name: str,
    library: str,
    shapes: Mapping[str, Shape],
    compute: Callable[[dict[str, Any], Any], Any],
    sizes: tuple[int, ...] = (64, 75),
    *,
    inputs_last: bool = False,
) -> None:
    """Write the record of a network; ``compute`` gives its output for parameters and NCHW images."""
    arrays = {key: value(key, shape, inputs_last=inputs_last) for key, shape in shapes.items()}
    outputs = {f"output_{size}": compute(arrays, images(size)) for size in sizes}
    texts = [",".join(map(str, shape)) for shape in shapes.values()]
    np.savez_compressed(HERE / f"{name}.npz", library=library, names=[*shapes], shapes=texts, **outputs)
    print(name, len(shapes), {key: (array.shape, float(array.std())) for key, array in outputs.items()})


def read(name: str) -> Recorded:
    """The record of a network."""
    with np.load(HERE / f"{name}.npz") as file:
        shapes = [tuple(map(int, filter(None, text.split(",")))) for text in file["shapes"].tolist()]
        outputs = {int(key.removeprefix("output_")): file[key] for key in file if key.startswith("output_")}
        return Recorded(str(file["library"]), dict(zip(file["names"].tolist(), shapes, strict=True)), outputs)


def record_torch(
    name: str, library: str, model: Any, sizes: tuple[int, ...] = (64, 75), names: Mapping[str, str] | None = None
) -> None:
    """Write the record of a PyTorch module, in float64 and inference mode.

    ``names`` has the module's name for each name of the file; what it lacks stays as the module initializes it.
    """
    import torch

    model.double()
    model.eval()
    own = model.state_dict()
    names = names or {key: key for key in own}

    def compute(arrays: dict[str, Any], pixels: Any) -> Any:
        given = {names[key]: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
        model.load_state_dict({**own, **given})
        with torch.inference_mode():
            output = model(torch.from_numpy(pixels))
        while isinstance(output, list | tuple | dict):
            output = [*(output.values() if isinstance(output, dict) else output)][-1]
        return output.numpy()

    record(name, library, {key: tuple(own[theirs].shape) for key, theirs in names.items()}, compute, sizes)
