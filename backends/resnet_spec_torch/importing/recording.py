"""Records the functions that a module calls in inference mode, with ``torch.export``."""

from __future__ import annotations

import linecache
import logging
import traceback
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from resnet_spec.errors import ModelError, Problem

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from resnet_spec.operations import Shape


@contextmanager
def inference(model: nn.Module) -> Generator[None]:
    """Put a model into inference mode, and each of its modules back into its own."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training


def like_parameters(model: nn.Module) -> torch.Tensor:
    """A tensor on the device and of the type of a model's parameters."""
    return next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))


def exported(model: nn.Module, batch: int, shape: Shape) -> ExportedProgram:
    """Record a model's call; raises ModelError with the module and the line that cannot be."""
    like = like_parameters(model)
    if like.is_meta:
        raise ModelError("the model is on the meta device and has no weights")
    images = torch.zeros(batch, *shape, device=like.device, dtype=like.dtype)
    with quiet():
        try:
            return torch.export.export(model, (images,))
        # Whatever the user's own code raises.
        except Exception as error:
            module, line, code = _raised_in(error, model)
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            reason = lines[0].strip() if lines else code
            message = (
                f"torch.export cannot record {type(model).__name__} for an input of {[batch, *shape]} "
                f"({type(error).__name__}{reason and f': {reason}'}); "
                "state the input's shape if it is another, channels first and without the batch"
            )
            raise ModelError([Problem(message, f"{module or 'the model itself'}{line}")]) from error


def _raised_in(error: Exception, model: nn.Module) -> tuple[str, str, str]:
    """The innermost module that raised an error, and the innermost line of the user's own code: its place and text."""
    known = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    paths = {id(module): path for path, module in known}
    # The first frame is that of this file.
    frames = list(traceback.walk_tb(error.__traceback__))[1:]
    modules = (paths.get(id(frame.f_locals.get("self"))) for frame, _ in reversed(frames))
    module = next((path for path in modules if path), "")
    line = own_line((frame.f_code.co_filename, number) for frame, number in frames)
    return module, place(line), linecache.getline(*line).strip() if line else ""


@contextmanager
def quiet() -> Generator[None]:
    """Keep PyTorch's warnings and log out of the output."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def own_line(frames: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """The last file and line that are not PyTorch's."""
    root = str(Path(torch.__file__).parent)
    own = [(file, line) for file, line in frames if not file.startswith((root, "<"))]
    return own[-1] if own else None


def place(line: tuple[str, int] | None) -> str:
    """The end of a message that names a file and a line."""
    if line is None:
        return ""
    file, number = line
    with suppress(ValueError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f" at {file}:{number}"
