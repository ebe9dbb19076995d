"""Hugging Face transformers' folders of a ResNet: config.json is compared with the graph, and written from it.

A graph is described by the names of its layers, which ``naming`` translates; that it is such a network and nothing
else is shown by building, from the spec beside this module, what transformers would build from the description.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import OutputError, Problem, SpecError, WeightsError, shown
from resnet_spec.graph import INPUT
from resnet_spec.operations import BatchNorm, Category, Conv, Linear
from resnet_spec.spec.loader import load
from resnet_spec.weights.adapting import counters_among
from resnet_spec.weights.formats.detection import IN_FOLDER, inside
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.matching import check_weights, too_large
from resnet_spec.weights.naming import find_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Tensors = Mapping[str, NDArray[Any]]

CONFIGURATION, WEIGHTS = "config.json", "model.safetensors"

SPEC = Path(__file__).with_name("transformers.yaml")

MODEL_TYPE = "resnet"

LIBRARY = "transformers"
"""The table of its layers' names."""

DEFAULTS: dict[str, Any] = {
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 6, 3],
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
"""What a config.json that leaves a key out means, as transformers' ResNetConfig has it."""

DEFAULT_CHANNELS, DEFAULT_LABELS = 3, 2

_CONVOLUTION = re.compile(r"layer(\d+)\.(\d+)\.conv\d+")

MAX_CONFIGURATION = 2**24
"""Bytes; that of twenty thousand classes, each with a name, is a million."""


# -- reading -----------------------------------------------------------------------------------------------------


def check_configuration(file: Path, tensors: Tensors, graph: Graph) -> None:
    """Raise WeightsError if the config.json beside transformers' weights describes another network than ``graph``.

    It is read only if the names of the file and of its tensors are those of transformers: other folders may contain a
    config.json too. Labels and channels are compared with the tensors, since the graph's may be adapted to.
    """
    path = file.with_name(CONFIGURATION)
    if file.name not in IN_FOLDER or not path.is_file():
        return
    theirs = {ours: tensor for name, tensor in tensors.items() if (ours := from_transformers(name))}
    if not theirs:
        return
    configuration = _read(path)
    if configuration.get("model_type") != MODEL_TYPE:
        kind = shown(configuration.get("model_type"))
        raise WeightsError(f"{path}: model_type is {kind}, where the tensors are named as those of a {MODEL_TYPE!r}")
    problems = [*_of_tensors(configuration, theirs), *_of_graph(configuration, graph)]
    if problems:
        raise WeightsError([Problem(f"{path}: describes another network"), *problems])


def from_transformers(name: str) -> str | None:
    """The graph's name for a tensor of transformers' model (with a classifier or without), None if it has none.

    >>> from_transformers("resnet.encoder.stages.0.layers.2.layer.1.normalization.bias")
    'layer1.2.bn2.bias'
    """
    layer, _, word = name.rpartition(".")
    found = find_table(LIBRARY).canonical(layer)
    return f"{found}.{word}" if found else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if not inside(path.parent, path):
            raise ValueError("it is a link out of the folder")
        if path.stat().st_size > MAX_CONFIGURATION:
            raise ValueError("it is too long")
        content: Any = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(cast('object', content)).__name__}")
    except RecursionError:
        raise WeightsError(f"{path}: is not a model's configuration (it is nested too deep)") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: is not a model's configuration ({error})") from None
    return cast("dict[str, Any]", content)


def _of_tensors(configuration: Mapping[str, Any], tensors: Tensors) -> list[Problem]:
    """Where the configuration and the tensors beside it disagree."""
    labels = configuration.get("num_labels", configuration.get("id2label", DEFAULT_LABELS))
    claims = {
        ("num_labels", "fc.weight", 0): len(cast("Any", labels)) if isinstance(labels, dict) else labels,
        ("num_channels", "conv1.weight", 1): configuration.get("num_channels", DEFAULT_CHANNELS),
    }
    return [
        Problem(f"is {shown(claim)}; the tensors' is {tensors[name].shape[axis]}", key)
        for (key, name, axis), claim in claims.items()
        if name in tensors and tensors[name].ndim > axis and claim != tensors[name].shape[axis]
    ]


def _of_graph(configuration: Mapping[str, Any], graph: Graph) -> list[Problem]:
    """Where the configuration and the graph, which may be the beginning of a network, disagree."""
    whole = "fc" in graph.by_name
    problems: list[Problem] = []
    for key, ours in describe(graph).items():
        claim: Any = configuration.get(key, DEFAULTS[key])
        if ours != (claim if whole else _beginning(claim, ours)):
            problems.append(Problem(f"is {shown(claim)}; {graph.name}'s is {shown(ours)}", key))
    return problems


def _beginning(claim: Any, ours: Any) -> Any:
    """The entries of a list for the stages that the beginning of a network has."""
    if isinstance(claim, list) and isinstance(ours, list):
        return cast("list[Any]", claim)[: len(cast("list[Any]", ours))]
    return cast("Any", claim)


def describe(graph: Graph) -> dict[str, Any]:
    """The config.json that describes a graph, by its layers' names; a key that they do not determine is left out.

    Other networks have layers of these names too: that a graph has no others is not looked at.
    """
    blocks: defaultdict[int, defaultdict[int, list[Conv]]] = defaultdict(lambda: defaultdict(list))
    for node in graph.nodes:
        place = _CONVOLUTION.fullmatch(node.name)
        if place and isinstance(node.operation, Conv):
            blocks[int(place[1])][int(place[2])].append(node.operation)
    stages = [blocks[number] for number in sorted(blocks)]
    firsts = [stage[min(stage)] for stage in stages]
    if not firsts:
        return {}
    activations = {node.operation.op for node in graph.nodes if node.operation.category is Category.ACTIVATION}
    configuration: dict[str, Any] = {
        "hidden_sizes": [first[-1].channels for first in firsts],
        "depths": [len(stage) for stage in stages],
        "layer_type": "bottleneck" if len(firsts[0]) == 3 else "basic",
        "hidden_act": " and ".join(sorted(activations)),
        "downsample_in_first_stage": _strides(firsts[0]),
    }
    stem = graph.by_name.get("conv1")
    if stem and isinstance(stem.operation, Conv):
        configuration["embedding_size"] = stem.operation.channels
    # In a dilated network no block may have a stride, and basic blocks have but one place for it.
    if any(map(_strides, firsts)) and configuration["layer_type"] == "bottleneck":
        configuration["downsample_in_bottleneck"] = any(_strides(first[:1]) for first in firsts)
    return configuration


def _strides(convolutions: list[Conv]) -> bool:
    return any(max(convolution.stride) > 1 for convolution in convolutions)


# -- writing -----------------------------------------------------------------------------------------------------


def write_folder(path: Path, graph: Graph, arrays: Tensors, *, half: bool = False) -> None:
    """Write a new folder that transformers' ``ResNetForImageClassification.from_pretrained`` loads.

    It has a config.json and the tensors as ``model.safetensors``, with counters, 0 if they are not among the arrays;
    ``half`` rounds the tensors to half precision. Raises OutputError if the graph is not such a network, naming the
    first node that transformers' lacks; WeightsError if the arrays do not fit the graph.
    """
    configuration = _configuration(graph, path)
    tensors = check_weights(graph, arrays, "the arrays")
    if half and (problems := too_large(tensors, "float16")):
        raise WeightsError([Problem("some values are too large for half precision"), *problems])
    if half:
        tensors = {name: array.astype("float16") for name, array in tensors.items()}
    configuration["dtype"] = next(iter(tensors.values())).dtype.name
    path.mkdir()
    (path / CONFIGURATION).write_text(json.dumps(configuration, indent=2) + "\n", "utf-8")
    write_safetensors(path / WEIGHTS, _by_their_names(graph, tensors | counters_among(arrays)), {"format": "pt"})


def _by_their_names(graph: Graph, tensors: Tensors) -> dict[str, NDArray[Any]]:
    import numpy as np

    norms = [node.name for node in graph.layers if isinstance(node.operation, BatchNorm)]
    counters = {name: tensors.get(name, np.zeros((), np.int64)) for name in (f"{norm}.{COUNTER}" for norm in norms)}
    # Every layer has one: the graph was found to be transformers'.
    return {cast("str", to_transformers(name)): tensor for name, tensor in {**tensors, **counters}.items()}


def to_transformers(name: str) -> str | None:
    """The name in transformers' model with a classifier for a tensor of the graph, None if it has none.

    >>> to_transformers("layer1.2.bn2.bias")
    'resnet.encoder.stages.0.layers.2.layer.1.normalization.bias'
    """
    layer, _, word = name.rpartition(".")
    found = find_table(LIBRARY).layer(layer)
    return f"{found}.{word}" if found else None


def _configuration(graph: Graph, path: Path) -> dict[str, Any]:
    """The config.json of a graph; raises OutputError if transformers would not build that graph from it."""
    nothing: dict[str, Any] = {"hidden_sizes": [], "depths": []}
    configuration = DEFAULTS | nothing | describe(graph)
    linear = graph.by_name["fc"].operation if "fc" in graph.by_name else None
    labels = linear.features if isinstance(linear, Linear) else DEFAULT_LABELS
    _check_same(graph, configuration, labels, path)
    names = {number: f"LABEL_{number}" for number in range(labels)}
    return configuration | {
        "architectures": ["ResNetForImageClassification"],
        "model_type": MODEL_TYPE,
        "num_channels": graph.input.channels,
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }


def _check_same(graph: Graph, configuration: Mapping[str, Any], labels: int, path: Path) -> None:
    """Raise OutputError unless a graph is, node for node, what transformers builds."""
    try:
        wanted = load(SPEC, _overrides(configuration, labels, graph.input.channels)).to_graph()
    except SpecError:
        raise OutputError(f"{path}: transformers' ResNet has no blocks of these widths") from None
    numbers: dict[Hashable, int] = {}
    theirs, ours = _numbered(wanted, numbers), _numbered(graph, numbers)
    known = set(theirs.values())
    lacking = next((name for name, number in ours.items() if number not in known), None)
    if lacking:
        raise OutputError(f"{path}: transformers' ResNet has nothing like {lacking!r} in its place")
    if [ours[name] for name in graph.outputs] != [theirs[name] for name in wanted.outputs]:
        outputs = ", ".join(graph.outputs)
        raise OutputError(f"{path}: the network returns {outputs}; transformers' ResNet returns {wanted.outputs[0]}")


def _overrides(configuration: Mapping[str, Any], labels: int, channels: int) -> dict[str, Any]:
    """What turns the spec beside this module into the network that a configuration describes."""
    bottleneck = "downsample_in_bottleneck" if configuration["downsample_in_bottleneck"] else "bottleneck"
    overrides: dict[str, Any] = {
        "input.channels": channels,
        "parameters.classes": labels,
        "parameters.embedding_size": configuration["embedding_size"],
    }
    for number, (depth, size) in enumerate(zip(configuration["depths"], configuration["hidden_sizes"], strict=True), 1):
        stride = 2 if number > 1 or configuration["downsample_in_first_stage"] else 1
        stage: dict[str, Any] = {"repeat": depth, "channels": size, "stride": stride, "block": "basic_block"}
        if configuration["layer_type"] == "bottleneck":
            stage |= {"block": bottleneck, "width": size // 4}
        overrides[f"stages.layer{number}"] = stage
    return overrides


def _numbered(graph: Graph, numbers: dict[Hashable, int]) -> dict[str, int]:
    """A number for each node; two are equal if they compute the same from the same parameters, in any order."""
    numbered = {INPUT: numbers.setdefault(("input", graph.input.channels), len(numbers))}
    owners = {parameter.node for parameter in graph.parameters()}
    for node in graph.nodes:
        inputs = [numbered[name] for name in node.inputs]
        layer = node.layer if node.layer in owners else None
        key = (node.operation, layer, tuple(sorted(inputs) if node.operation.op == "add" else inputs))
        numbered[node.name] = numbers.setdefault(key, len(numbers))
    return numbered
