"""What a type checker sees of the public names: ``make lint`` checks this file in strict mode, and nothing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import resnet_spec
from resnet_spec import (
    SGD,
    AdamW,
    Backend,
    BackendError,
    Checkpoint,
    DownloadError,
    Gradients,
    Graph,
    GraphError,
    ImageError,
    LabelsError,
    OutputError,
    ParityReport,
    Prediction,
    Preprocessing,
    Problem,
    ResnetSpecError,
    Spec,
    SpecError,
    Summary,
    WeightsError,
    available,
    build,
    compare,
    get_backend,
    initialize,
    load,
    predict,
    preprocess,
    read_weights,
    summarize,
    write_weights,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def specs_and_graphs() -> None:
    assert_type(available(), list[str])
    spec = load("resnet50")
    assert_type(spec, Spec)
    graph = spec.to_graph()
    assert_type(graph, Graph)
    assert_type(Graph.from_json(graph.to_json()), Graph)
    assert_type(summarize(graph), Summary)
    assert_type(graph.fingerprint, str)


def weights_and_models(graph: Graph, images: NDArray[np.float32]) -> None:
    arrays = initialize(graph, seed=0)
    write_weights("weights.safetensors", graph, arrays)
    assert_type(read_weights("weights.safetensors", graph), "dict[str, NDArray[Any]]")
    assert_type(build("resnet50", "torch"), Any)
    backend = get_backend("torch")
    assert_type(backend, Backend)
    assert_type(backend.gradients(None, graph, images, [images]), Gradients)
    Checkpoint(arrays)
    assert_type((SGD(), AdamW()), tuple[SGD, AdamW])


def images_and_predictions(preprocessing: Preprocessing) -> None:
    assert_type(preprocess("resnet50", ["cat.png"], preprocessing), "NDArray[np.float32]")
    assert_type(predict("resnet50", "cat.png", "weights.pth", ["torch"]), Prediction)


def parity() -> None:
    assert_type(compare("resnet50", ["torch", "tensorflow"]), ParityReport)


def errors(error: ResnetSpecError) -> None:
    for problem in error.problems:
        assert_type(problem, Problem)
    kinds: list[type[ResnetSpecError]] = [SpecError, GraphError, WeightsError, BackendError]
    kinds += [ImageError, LabelsError, OutputError, DownloadError]


assert_type(resnet_spec.__version__, str)
