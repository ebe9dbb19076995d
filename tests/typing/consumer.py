"""What a type checker sees of the public names: ``make lint`` checks this file in strict mode, and nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type, cast

import resnet_spec
from resnet_spec import (
    SGD,
    AdamW,
    Backend,
    BackendError,
    BenchmarkReport,
    Checkpoint,
    DownloadError,
    EvaluationReport,
    Gradients,
    Graph,
    GraphError,
    HubError,
    ImageError,
    ImportedModel,
    LabelsError,
    MissingLibraryError,
    ModelError,
    OutputError,
    ParityReport,
    Prediction,
    Preprocessing,
    Problem,
    Quantization,
    QuantizationError,
    ResnetSpecError,
    Spec,
    SpecError,
    Summary,
    WeightsError,
    available,
    backend,
    benchmark,
    build,
    compare,
    compare_with_model,
    drawing,
    evaluate,
    get_backend,
    graph,
    import_model,
    initialize,
    load,
    load_weights,
    operations,
    predict,
    preprocess,
    push,
    quantize,
    read_weights,
    save,
    summarize,
    write_model,
    write_weights,
)

if TYPE_CHECKING:
    import keras  # pyright: ignore[reportMissingTypeStubs]
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


def specs_and_graphs() -> None:
    assert_type(available(), list[str])
    spec = load("resnet50")
    assert_type(spec, Spec)
    network = spec.to_graph()
    assert_type(network, Graph)
    assert_type(Graph.from_json(network.to_json()), Graph)
    assert_type(summarize(network), Summary)
    assert_type(network.fingerprint, str)
    assert_type(drawing.svg(network, expand=["layer1"], color="macs", marks={"conv1": "changed", "fc": 0.5}), str)
    assert_type(network.nodes, tuple[graph.Node, ...])
    assert_type(network.nodes[0].operation, operations.AnyOperation)


def weights_and_models(network: Graph, images: NDArray[np.float32]) -> None:
    arrays = initialize(network, seed=0)
    write_weights("weights.safetensors", network, arrays)
    assert_type(read_weights("weights.safetensors", network), "dict[str, NDArray[Any]]")
    model = build("resnet50", "torch")
    assert_type(model, nn.Module)
    assert_type(build("resnet50", "torch", dtype="bfloat16", training=True), nn.Module)
    assert_type(build("resnet50", "torch", synchronized=True, adapt="classes"), nn.Module)
    assert_type(build("resnet50", "tf", dtype="mixed_float16"), keras.Model)
    assert_type(build("resnet50", str(model)), Any)
    imported = import_model(model, input=(3, 32, 32))
    assert_type(imported, ImportedModel)
    assert_type(imported.text, str)
    assert_type(write_model(model, network, "weights.pth", "torch"), None)
    assert_type(save(model, "weights.pth", spec="resnet50", half=True, force=True), None)
    assert_type(save(model, "weights.safetensors", half="bfloat16"), None)
    load_weights(model, "w.safetensors")
    quantization = quantize("resnet50", arrays, images, method="mse", keep=["fc"])
    assert_type(quantization, Quantization)
    assert_type(build("resnet50", "torch", arrays, quantization=quantization), nn.Module)


def backends(network: Graph, images: NDArray[np.float32]) -> None:
    torch = get_backend("torch")
    assert_type(torch, Backend)
    assert_type(torch.gradients(None, network, images, [images]), Gradients)
    reader = cast("backend.ReadingBackend", get_backend("onnx"))
    assert_type(reader.read(Path("network.onnx")), Checkpoint)
    assert_type(backend.get_backend("torch"), backend.Backend)
    assert_type((SGD(), AdamW()), tuple[SGD, AdamW])


def images_and_predictions(preprocessing: Preprocessing) -> None:
    assert_type(preprocess("resnet50", ["cat.png"], preprocessing), "NDArray[np.float32]")
    assert_type(predict("resnet50", "cat.png", "weights.pth", ["torch"]), Prediction)
    evaluated = evaluate("resnet50", "images", "weights.pth", ["torch", "model.onnx"], preprocessing=preprocessing)
    assert_type(evaluated, EvaluationReport)
    assert_type(evaluated.results["torch"].top1.share, float)


def parity() -> None:
    assert_type(compare("resnet50", ["torch", "tensorflow"]), ParityReport)
    assert_type(compare_with_model("resnet50", "model.onnx", ["torch"]), ParityReport)


def times() -> None:
    assert_type(benchmark("resnet50", ["torch"], batches=[1, 8]), BenchmarkReport)


def sharing() -> None:
    assert_type(push("resnet50", "someone/resnet50", "IMAGENET1K_V2"), str)


def errors(error: ResnetSpecError) -> None:
    for problem in error.problems:
        assert_type(problem, Problem)
    kinds: list[type[ResnetSpecError]] = [SpecError, GraphError, WeightsError, BackendError, ModelError]
    kinds += [ImageError, LabelsError, OutputError, QuantizationError, DownloadError, HubError, MissingLibraryError]


assert_type(resnet_spec.__version__, str)
