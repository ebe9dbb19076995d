"""PyTorch's state_dicts, read without ever unpickling code.

torch's own reader is asked not to run code; what it does not look at is looked at here, before and after it.
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

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.weights.formats.detection import occurrences

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATES = ("state_dict", "model", "model_state_dict", "net")
"""Under which key training scripts keep the state_dict; the first that is there is the model's."""

AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict")
"""Under which key they keep its exponential moving average."""

AVERAGED = "n_averaged"
"""What torch's AveragedModel has beside the averages: how many steps they are over."""

MAX_SHARING = 4
"""How many times the file's size all tensors together may be, since some share their numbers."""

_ADVICE = "of a whole model, save its state_dict(): torch.save(model.state_dict(), PATH)"

_ZIP = b"PK\x03\x04"
_TAR, _TAR_PLACE = b"ustar", 257

_ALLOCATES = b"bytearray\n"
"""What a pickle makes as large as it likes of a number alone, and no state_dict has."""


def read_state_dict(path: Path, *, mmap: bool = False) -> Checkpoint:
    """The tensors of a ``.pth`` or ``.pt`` file by the names in it; bfloat16 becomes float32, exactly.

    Both of torch's formats are read, and a training script's checkpoint, where the state_dict is under a key beside
    other things. ``mmap`` makes a zip archive's tensors a copy-on-write memory map.

    Raises WeightsError for a file that is broken, would run code, or holds anything but named tensors.
    """
    content = _load(path, mmap=mmap)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not named tensors (a state_dict)")
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
    halves = {name for state in states for name in _halves(state)}
    return Checkpoint(
        _widened(arrays[0], halves),
        averages=_widened(arrays[1], halves),
        ignored={what: count for what, count in counts.items() if count},
        widened=frozenset(halves),
        remarks=("holds only an exponential moving average, which was taken",) if nested and state is None else (),
    )


def _first(entries: Mapping[Any, Any], keys: Iterable[str]) -> Mapping[Any, Any] | None:
    return next((entries[key] for key in keys if isinstance(entries.get(key), Mapping)), None)


def _count(values: Iterable[Any]) -> int:
    """How many tensors there are in anything nested, which may hold itself."""
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
    """Views of a state_dict's tensors, bfloat16 as integers of the same bits; all that is wrong is told at once."""
    arrays: dict[str, NDArray[Any]] = {}
    problems: list[Problem] = []
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            problems.append(Problem(f"is a {type(value).__name__}, not a tensor under a name", str(name)))
        elif name != AVERAGED:
            try:
                arrays[name] = _view(value.detach())
            except (TypeError, RuntimeError, ValueError):
                kind = f"{value.layout} {value.dtype} on {value.device}".replace("torch.", "")
                problems.append(Problem(f"is stored as {kind}, which has no array", name))
    if problems:
        raise WeightsError([Problem(f"{path}: is no plain state_dict"), *problems])
    return arrays


def _view(tensor: Tensor) -> NDArray[Any]:
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _check_claims(path: Path, arrays: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Raise WeightsError where a few numbers of the file are to be repeated for ever."""
    claimed = sum(array.nbytes for state in arrays for array in state.values())
    held = path.stat().st_size
    if claimed > MAX_SHARING * held:
        raise WeightsError(f"{path}: refused: its tensors claim {claimed:,} bytes, of which the file holds {held:,}")


def _halves(state: Mapping[str, Any]) -> set[str]:
    return {name for name, tensor in state.items() if tensor.dtype == torch.bfloat16}


def _widened(arrays: Mapping[str, NDArray[Any]], halves: set[str]) -> dict[str, NDArray[Any]]:
    """Arrays whose bits are those of bfloat16, the upper half of a float32's, as float32."""
    return {
        name: (array.astype("<u4") << 16).view("<f4") if name in halves else array for name, array in arrays.items()
    }


# -- what torch's reader is given --------------------------------------------------------------------------------


def _load(path: Path, *, mmap: bool) -> Any:
    try:
        zipped = _check_container(path)
        # torch asks the safetensors library to read a file of that name, whatever is in it.
        misnamed = path.suffix == ".safetensors"
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            # What argparse returns, beside many a checkpoint, is a bag of plain values; making one runs no code.
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
        raise WeightsError(f"{path}: is not a whole file of tensors ({reason})") from None


def _check_container(path: Path) -> bool:
    """Whether a file is a zip archive; raises WeightsError where it holds what torch's reader must not be given."""
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
            raise WeightsError(f"{path}: is an archive without tensors of PyTorch's (it has no data.pkl)")
        for member in pickles:
            # torch may be told to write no checksums: they are 0, and None is not checked.
            member.CRC = member.CRC or cast("int", None)
            _check_pickle(path, BytesIO(archive.read(member)))


def _check_pickle(path: Path, content: BinaryIO) -> None:
    if occurrences(content, _ALLOCATES):
        raise WeightsError(f"{path}: refused: besides tensors it holds a bytearray")


def _unpickling_problem(error: Exception) -> str:
    # torch's own text advises to load the file without the check.
    forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
    if forbidden:
        return f"refused: besides tensors it holds {forbidden[1]}, and loading that would run code; {_ADVICE}"
    return "is not a whole file of tensors (its pickle cannot be read)"
