"""Reads PyTorch's state_dicts without unpickling code.

``torch.load`` is called with ``weights_only=True``; what it does not check is checked here, before and after.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import torch
from torch import Tensor

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.detection import occurrences

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATES = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts save the state_dict; the first that exists is the model's."""

AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict")
"""Keys under which they save its exponential moving average."""

AVERAGED = "n_averaged"
"""The number of averaged steps, which ``torch.optim.swa_utils.AveragedModel`` saves with the averages."""

MAX_SHARING = 4
"""Maximum size of all tensors, in multiples of the file's size; some tensors share their storage."""

_ADVICE = "save the model's state_dict() instead: torch.save(model.state_dict(), PATH)"

_ZIP = b"PK\x03\x04"
_TAR, _TAR_PLACE = b"ustar", 257

_ALLOCATES = b"bytearray\n"
"""A pickle can allocate a bytearray of any size from a number; no state_dict contains one."""


def read_state_dict(path: Path, *, mmap: bool = False) -> Checkpoint:
    """Return the tensors of a ``.pth`` or ``.pt`` file by their names; bfloat16 becomes float32, exactly.

    Both of torch's formats are read, and training scripts' checkpoints, which have the state_dict under a key.
    ``mmap`` makes a zip archive's tensors a copy-on-write memory map.

    Raises WeightsError for a file that is broken, would run code, or contains anything but named tensors.
    """
    content = _load(path, mmap=mmap)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: contains a {type(content).__name__} instead of a state_dict (tensors by name)")
    entries = cast("Mapping[Any, Any]", content)
    state, averages = _first(entries, STATES), _first(entries, AVERAGES)
    nested = state is not None or averages is not None
    states: list[Mapping[Any, Any]] = [state or {}, averages or {}] if nested else [entries, {}]
    rest = {key: value for key, value in entries.items() if nested and not any(value is state for state in states)}
    arrays = [_arrays(path, state) for state in states]
    _check_claims(path, arrays)
    slots = _count(value for key, value in rest.items() if str(key).startswith("optim"))
    counts = {
        "optimizer slots": slots,
        "tensors beside the state_dict": _count(rest.values()) - slots,
        "counts of averaged steps": sum(AVERAGED in state for state in states),
    }
    bfloat16_names = {name for state in states for name in _bfloat16_names(state)}
    return Checkpoint(
        _widened(arrays[0], bfloat16_names),
        averages=_widened(arrays[1], bfloat16_names),
        ignored={what: count for what, count in counts.items() if count},
        widened=frozenset(bfloat16_names),
        remarks=("contains only an exponential moving average, which is used",) if nested and state is None else (),
    )


def _first(entries: Mapping[Any, Any], keys: Iterable[str]) -> Mapping[Any, Any] | None:
    return next((entries[key] for key in keys if isinstance(entries.get(key), Mapping)), None)


def _count(values: Iterable[Any]) -> int:
    """Return the number of tensors in nested containers, which may contain themselves."""
    count, left, seen = 0, list(values), set[int]()
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            count += 1
        elif isinstance(value, Mapping | list | tuple) and id(cast("object", value)) not in seen:
            seen.add(id(cast("object", value)))
            mapping = isinstance(value, Mapping)
            left.extend(cast("Mapping[Any, Any]", value).values() if mapping else cast("list[Any]", value))
    return count


def _arrays(path: Path, state: Mapping[Any, Any]) -> dict[str, NDArray[Any]]:
    """Return views of a state_dict's tensors, bfloat16 as integers of the same bits; reports all problems at once."""
    arrays: dict[str, NDArray[Any]] = {}
    problems: list[Problem] = []
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            problems.append(Problem(f"is a {type(value).__name__}, not a named tensor", str(name)))
        elif name != AVERAGED:
            try:
                arrays[name] = _view(value.detach())
            except (TypeError, RuntimeError, ValueError):
                kind = f"{value.layout} {value.dtype} on {value.device}".replace("torch.", "")
                problems.append(Problem(f"is stored as {kind}, which NumPy cannot represent", name))
    if problems:
        raise WeightsError([Problem(f"{path}: is not a plain state_dict"), *problems])
    return arrays


def _view(tensor: Tensor) -> NDArray[Any]:
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _check_claims(path: Path, arrays: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Raise WeightsError if the tensors are much larger than the file, as expanded views are."""
    claimed = sum(array.nbytes for state in arrays for array in state.values())
    held = path.stat().st_size
    if claimed > MAX_SHARING * held:
        raise WeightsError(f"{path}: refused: its tensors need {claimed:,} bytes, but the file contains {held:,}")


def _bfloat16_names(state: Mapping[str, Any]) -> set[str]:
    return {name for name, tensor in state.items() if tensor.dtype == torch.bfloat16}


def _widened(arrays: Mapping[str, NDArray[Any]], bfloat16_names: set[str]) -> dict[str, NDArray[Any]]:
    """Return arrays with those that contain the bits of bfloat16 as float32."""
    return {name: widen_bfloat16(array) if name in bfloat16_names else array for name, array in arrays.items()}


# -- what torch.load receives -------------------------------------------------------------------------------------


def _load(path: Path, *, mmap: bool) -> Any:
    try:
        zipped = _check_container(path)
        # torch.load passes a file of that name to the safetensors library, whatever it contains.
        misnamed = path.suffix == ".safetensors"
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            # Many checkpoints contain the arguments that argparse returns: plain values, whose unpickling runs no code.
            stack.enter_context(torch.serialization.safe_globals([argparse.Namespace]))
            source = stack.enter_context(path.open("rb")) if misnamed else path
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap and zipped and not misnamed)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_unpickling_problem(error)}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    # A broken archive or pickle fails in as many ways as there are bytes to break.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(f"{path}: is broken or incomplete ({reason})") from None


def _check_container(path: Path) -> bool:
    """Return whether a file is a zip archive; raises WeightsError if ``torch.load`` must not read it."""
    with path.open("rb") as file:
        head = file.read(_TAR_PLACE + len(_TAR))
        if head.startswith(_ZIP):
            _check_archive(path)
            return True
        if head.endswith(_TAR):
            raise WeightsError(f"{path}: is in PyTorch's oldest format, a tar archive, which cannot be read safely")
        _check_pickle(path, file)
    return False


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise WeightsError(f"{path}: refused: a TorchScript program is code; {_ADVICE}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise WeightsError(f"{path}: refused: it is compressed, which PyTorch's files are not")
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        if not pickles:
            raise WeightsError(f"{path}: is a zip archive, but not PyTorch's (it has no data.pkl)")
        for member in pickles:
            # Without checksums, which torch can omit, they are 0; zipfile does not check None.
            member.CRC = member.CRC or cast("int", None)
            _check_pickle(path, BytesIO(archive.read(member)))


def _check_pickle(path: Path, content: BinaryIO) -> None:
    if occurrences(content, _ALLOCATES):
        raise WeightsError(f"{path}: refused: it contains a bytearray")


def _unpickling_problem(error: Exception) -> str:
    # torch's own message advises loading the file without the check.
    forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
    if forbidden:
        return f"refused: it contains {forbidden[1]}, and loading it would run code; {_ADVICE}"
    return "is broken or incomplete (its pickle cannot be read)"
