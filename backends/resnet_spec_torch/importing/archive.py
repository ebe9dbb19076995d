"""Opens a program that ``torch.export`` wrote, once it is clear that this executes nothing which the file names.

``torch.export.load`` unpickles tensors that the file marks so, evaluates symbolic sizes as Python, and calls the
functions that the graph names, whatever they are.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch._export.serde import serialize

from resnet_spec.errors import ModelError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MAX_ENTRIES = 100_000

_FUNCTION = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|_operator\.(getitem|add|sub|mul|floordiv|mod|eq|ne|ge|gt|le|lt|neg)"
)
_WORDS = (
    "Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|FloorDiv|PythonMod|CleanDiv|CeilToInt|True|False|integer|positive"
    "|nonnegative"
)
_SIZE = re.compile(rf"('[su]\d+'|[su]\d+\b|({_WORDS})\b|\d+|[-+*/(), <>=])*")
_ENTRY = re.compile(
    r"(archive_format|archive_version|byteorder|version|\.data/.*|\.format/.*|models/[^/]+\.json|data/(weights|constants)/.*"
    r"|data/sample_inputs/[^/]+\.pt)"
)


def load_program(path: Path) -> ExportedProgram:
    """Load a program.

    Raises:
        ModelError: It is not one, or loading it would execute something that it names.
    """
    try:
        _check(path)
        with warnings.catch_warnings(), _sizes_parsed_once():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
    except ModelError:
        raise
    # A damaged file may raise anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path}: is not a program of torch.export ({type(error).__name__}: {reason})") from error
    # Python that the file brings to check its inputs.
    program._guards_code = []  # pyright: ignore[reportPrivateUsage]
    return program


@contextmanager
def _sizes_parsed_once() -> Generator[None]:
    """Let PyTorch parse each symbolic size once: parsing the same few at every value takes most of a file's time."""
    # Private to PyTorch: without it, loading is only slower.
    owner = cast("Any", serialize).GraphModuleDeserializer
    parse: Any = getattr(owner, "_parse_sym_expr", None)
    try:
        if parse is not None:
            owner._parse_sym_expr = cache(parse)
        yield
    finally:
        if parse is not None:
            owner._parse_sym_expr = parse


def _check(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size = path.stat().st_size
        if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > 2 * size + 2**20:
            raise ModelError(f"{path}: unpacks to more than twice its size, or to {len(entries)} entries")
        for entry in entries:
            name = entry.filename.partition("/")[2]
            if not _ENTRY.fullmatch(name):
                raise ModelError(f"{path}: has an entry {name!r}, which no program without code of its own has")
            if name.endswith(".json"):
                _check_description(path, json.loads(archive.read(entry)))
            elif name.startswith("data/sample_inputs/"):
                # Else torch.export.load would unpickle it without limits.
                torch.load(io.BytesIO(archive.read(entry)), weights_only=True)


def _check_description(path: Path, data: Any) -> None:
    for key, value in _items(data):
        if key == "use_pickle" and value:
            raise ModelError(f"{path}: has pickled tensors, which are not read")
        if key == "target" and str(value).startswith("torch.ops.quantized_decomposed."):
            raise ModelError(f"{path}: is an 8-bit network; give the one in float that it was made from")
        if key == "target" and not (isinstance(value, str) and _FUNCTION.fullmatch(value)):
            raise ModelError(f"{path}: calls {value!r}, which is not a function of tensors")
        if key == "expr_str" and not (isinstance(value, str) and _SIZE.fullmatch(value)):
            raise ModelError(f"{path}: has a size {value!r}, which is not arithmetic")
        if key == "range_constraints":
            for name in cast("Mapping[str, Any]", value or {}):
                if not _SIZE.fullmatch(name):
                    raise ModelError(f"{path}: has a size {name!r}, which is not arithmetic")


def _items(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value at any depth."""
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            own = cast("dict[str, Any]", part)
            yield from own.items()
            waiting += own.values()
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)
