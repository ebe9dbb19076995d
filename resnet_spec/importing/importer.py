"""Imports a model: reads it by its backend, writes the spec, and loads that again to compare it with the source."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.protocol import ImportingBackend
from resnet_spec.backend.registry import get_backend, importer_of, importers
from resnet_spec.backend.source import SourceModel
from resnet_spec.document.dump import to_yaml
from resnet_spec.errors import ModelError, SpecError
from resnet_spec.graph import Graph
from resnet_spec.importing.architecture import architecture, by_name
from resnet_spec.importing.concatenations import nested
from resnet_spec.importing.document import block_document, chain_document
from resnet_spec.importing.known import known_spec
from resnet_spec.importing.naming import with_names_of_blocks, with_systematic_names
from resnet_spec.importing.overriding import loaded
from resnet_spec.importing.paddings import in_numbers
from resnet_spec.importing.shipped import candidates
from resnet_spec.importing.slices import in_equal_parts
from resnet_spec.spec.spec import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImportedModel:
    """A model as a spec.

    Attributes:
        spec: The spec, loaded from ``text``; its graph equals the source's.
        text: The spec's YAML.
        arrays: The weights by the spec's names, laid out as PyTorch lays them out.
        source: The model as it was read.
        remarks: What a reader of the spec must know, a sentence each.
    """

    spec: Spec
    text: str
    arrays: Mapping[str, NDArray[Any]]
    source: SourceModel
    remarks: tuple[str, ...]

    @property
    def extends(self) -> str:
        """The shipped spec that it is, apart from its classes, its input's size and overrides; empty if it is none."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("extends: ") if first.startswith("extends: ") else ""


def import_model(
    model: Any,
    *,
    input: tuple[int, ...] | None = None,
    flat: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> ImportedModel:
    """Turn a model of another library into a spec and its weights.

    The spec that is written is loaded again, and its graph compared with the source's.

    Args:
        model: An ``nn.Module``, a Keras model, or the path of a model: a file that an installed backend imports, such
            as ``.onnx`` and ``.keras``. ``package.module:function`` calls a function that returns a model.
        input: The shape of the input without the batch, channels first, for a model that does not state it.
        flat: Whether to write one chain instead of stages and blocks.
        progress: A function that is called with a description of each step.

    Returns:
        The spec, its text, and the weights.

    Raises:
        ModelError: The model cannot be read, or has layers that the language cannot express; all are listed.
        BackendError: The backend that reads it is not installed.

    Examples:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> imported = import_model(network, input=(3, 16, 16))
        >>> imported.spec.to_graph().nodes[0].operation.channels
        8
    """
    progress("reading the model")
    source = read_source(model, input)
    parts = in_equal_parts(source.graph)
    graph, arrays = nested(parts), dict(source.arrays)
    progress("finding stages and blocks")
    remarks = list(source.remarks)
    if graph is not parts:
        remarks.append("a concatenation that begins with the values of an earlier one takes that one's value")
    if not source.named:
        graph, arrays = with_systematic_names(graph, arrays)
        remarks.append("its layers are named by stage and block; its own names are automatic")
    else:
        graph = with_names_of_blocks(graph)
    owners = {parameter.name: parameter.node for parameter in graph.parameters()}
    # The order of automatic names is that of the calls that made the layers, which says nothing.
    layers = dict.fromkeys(owners[name] for name in arrays) if source.named else {}
    order = {layer: place for place, layer in enumerate(layers)}
    text, spec = _written(graph, arrays, source.classes, order, flat=flat)
    lowered = spec.to_graph()
    if source.named and [parameter.name for parameter in lowered.parameters()] != list(arrays):
        remarks.append("the spec lists its parameters in another order than the source")
    return ImportedModel(spec, text, arrays, source, tuple(remarks))


def _written(
    graph: Graph,
    arrays: Mapping[str, NDArray[Any]],
    classes: Mapping[str, str],
    order: Mapping[str, int],
    *,
    flat: bool,
) -> tuple[str, Spec]:
    """The first spec that is the same network: a shipped one, one with blocks, or a chain."""
    stated, graph = graph, in_numbers(graph)
    known: list[tuple[str, Spec]] = []
    for own in [] if flat else [stated, graph] if graph is not stated else [graph]:
        if found := known_spec(own, arrays):
            text = to_yaml(found)
            spec = loaded(text, graph.name)
            if architecture(spec.to_graph(), layers=True) == architecture(own, layers=True):
                known.append((text, spec))
    if known:
        return min(known, key=lambda pair: len(pair[0]))
    wanted = by_name(graph)

    def matching(data: dict[str, Any]) -> tuple[str, Spec] | None:
        """The text and the spec of a document, if it is the network."""
        text = to_yaml(data)
        with suppress(SpecError):
            spec = loaded(text, graph.name)
            if by_name(spec.to_graph()) == wanted:
                return text, spec
        return None

    data = None if flat else block_document(graph, classes, order)
    if data is not None and (found := matching(data)):
        shipped: dict[str, str] = {}
        for name, body in data.get("blocks", {}).items():
            for block in candidates(body):
                if better := matching(block_document(graph, classes, order, {**shipped, name: block})):
                    found, shipped[name] = better, block
                    break
        return found
    text = to_yaml(chain_document(graph))
    try:
        spec = loaded(text, graph.name)
        lowered = spec.to_graph()
    except SpecError as error:
        raise ModelError(f"its layers cannot be written as a spec: {error}") from error
    if by_name(lowered) != wanted:
        raise ModelError("the spec that was written is another network; this is a mistake of resnet-spec")
    return text, spec


# -- the source --------------------------------------------------------------------------------------------------


def read_source(model: Any, input: tuple[int, ...] | None = None) -> SourceModel:
    """Read a model of another library; see ``import_model``."""
    model, name = located(model)
    return cast("ImportingBackend", get_backend(name)).import_model(model, input)


def located(model: Any) -> tuple[Any, str]:
    """Return the model, or its path, that a text stands for, and the name of the backend that imports it.

    Raises ModelError if there is none, or the function that it names fails.
    """
    if isinstance(model, str) and (function := _function(model)):
        try:
            model = function()
        # It is the user's own code.
        except Exception as error:
            raise ModelError(f"{model} raised {type(error).__name__}: {error}") from error
    found = importers()
    if isinstance(model, str | Path):
        path = Path(model)
        if not path.exists():
            hint = "" if path.suffix else "; a function of Python is named package.module:function"
            raise ModelError(f"{path}: does not exist{hint}")
        if not path.is_file() and not path.is_dir():
            raise ModelError(f"{path}: is not a regular file")
        kind = path.suffix.lower() if path.is_file() else ""
        name = found.get(kind) if kind or path.is_dir() else None
        if name is None:
            known = ", ".join(ending for ending in sorted(found) if ending.startswith("."))
            what = kind or ("folders" if path.is_dir() else "files without an ending")
            raise ModelError(f"{path}: no installed backend imports {what} (known: {known})")
        return path, name
    name = importer_of(model)
    if name is None:
        raise ModelError(f"{type(model).__module__}.{type(model).__qualname__} is not a model of an installed backend")
    return model, name


def _function(text: str) -> Callable[[], Any] | None:
    """The function that ``package.module:function`` names; None for a path."""
    module, colon, name = text.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return None
    sys.path.insert(0, "")
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        hint = f"; did you mean {module.removesuffix('.py')}:{name}?" if module.endswith(".py") else ""
        raise ModelError(f"{text}: {error}{hint}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ModelError(f"{text}: is not a function")
    # A module is callable, too, and is what is wanted.
    return (lambda: found) if importer_of(found) else found
