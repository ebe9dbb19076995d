"""Files that need torch: state_dicts, read without ever unpickling code, and exported programs."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from resnet_spec.checkpoints.checkpoint import Checkpoint
from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

_ZIP = b"PK\x03\x04"

STATES = ("state_dict", "model", "model_state_dict")
"""Under which key training scripts keep the state_dict; the first that is there is the model's."""

AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict")
"""Under which key they keep its exponential moving average."""


def read_state_dict(path: Path) -> Checkpoint:
    """The tensors of a ``.pth`` or ``.pt`` file by the names in it; bfloat16 becomes float32, exactly.

    Both of torch's formats are read, the zip archive as a copy-on-write memory map, and a training script's checkpoint,
    where the state_dict is under a key beside other things. Raises WeightsError for a file that is broken, would run
    code, or holds anything but named tensors.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not named tensors (a state_dict)")
    entries = cast("Mapping[Any, Any]", content)
    widened: set[str] = set()
    states = [entries[key] for key in STATES if isinstance(entries.get(key), Mapping)]
    averages = [entries[key] for key in AVERAGES if isinstance(entries.get(key), Mapping)]
    if not states and not averages:
        return Checkpoint(_arrays(path, entries, widened), widened=frozenset(widened))
    # The optimizer's own state is a mapping by numbers, a slot or more a parameter.
    optimizer = entries.get("optimizer", entries.get("optimizer_state_dict"))
    slots: Any = cast("Mapping[Any, Any]", optimizer).get("state", {}) if isinstance(optimizer, Mapping) else {}
    count = sum(isinstance(value, Tensor) for state in slots.values() for value in state.values())
    return Checkpoint(
        _arrays(path, states[0], widened) if states else {},
        averages=_arrays(path, averages[0], widened) if averages else {},
        ignored={"optimizer slots": count} if count else {},
        widened=frozenset(widened),
        remarks=() if states else ("holds only an exponential moving average, which was taken",),
    )


def _arrays(path: Path, entries: Mapping[Any, Any], widened: set[str]) -> dict[str, NDArray[Any]]:
    problems = [
        Problem(f"is a {type(value).__name__}, not a tensor under a name", str(name))
        for name, value in entries.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if problems:
        raise WeightsError([Problem(f"{path}: is no plain state_dict"), *problems])
    widened.update(name for name, tensor in entries.items() if tensor.dtype == torch.bfloat16)
    return {name: _array(path, name, tensor) for name, tensor in entries.items()}


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
        # What argparse returns, beside many a checkpoint, is a bag of plain values; making one runs no code.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_unpickling_problem(error)}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    # A broken archive or pickle fails in as many ways as there are bytes to break.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(f"{path}: is not a whole file of tensors ({reason})") from None


def _unpickling_problem(error: Exception) -> str:
    # torch's own text advises to load the file without the check.
    forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
    if forbidden:
        return f"refused: besides tensors it holds {forbidden[1]}, and loading that would run code"
    return "is not a whole file of tensors (its pickle cannot be read)"


def _array(path: Path, name: str, tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        kind = f"{tensor.layout} {tensor.dtype} on {tensor.device}".replace("torch.", "")
        raise WeightsError(Problem(f"{path}: is stored as {kind}, which has no array", name)) from None


def write_state_dict(model: nn.Module, graph: Graph, path: Path, half: bool = False) -> None:
    """Write a model's state_dict in torch's zip format, on the CPU whatever the model is on."""
    state = model.state_dict()
    for name, tensor in state.items():
        state[name] = tensor.cpu().half() if half and tensor.is_floating_point() else tensor.cpu()
    torch.save(state, path)


def write_program(model: nn.Module, graph: Graph, path: Path, half: bool = False) -> None:
    """Write a model as a ``torch.export`` program, which runs without this package.

    The batch is dynamic; so are an image's height and width, unless the graph's parameters depend on them. A feature
    map that is 1×1 at the graph's own size may not grow, and one that is not may not shrink to it: torch takes 1 for a
    constant.
    """
    fixed = graph.depends_on_size or graph.input.features is not None
    sizes = {} if fixed else dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    # Two images, since a dimension of 1 is taken for a constant.
    images = torch.zeros(2, *graph.input.shape)
    parameter = next(model.parameters(), images)
    images = images.to(parameter.device, parameter.dtype)
    shapes = ({0: torch.export.Dim.DYNAMIC, **sizes},)
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=shapes), path)
