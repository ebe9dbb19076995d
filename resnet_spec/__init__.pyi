# The public names, in the order in which a reader needs them. Each is here only: lazy_loader reads this file.
# ruff: noqa: I001

# From a spec to its graph.
from .spec.catalog import available as available
from .spec.loader import load as load
from .spec.spec import Spec as Spec
from .graph.graph import Graph as Graph
from .graph.summary import Summary as Summary, summarize as summarize
from .graph.initialization import initialize as initialize

# From a graph to a native model, and weights.
from .building import build as build, load_weights as load_weights, save as save
from .weights.io import read_weights as read_weights, write_weights as write_weights
from .weights.converting import write_model as write_model

# From another library's model to a spec.
from .importing import import_model as import_model, ImportedModel as ImportedModel

# From and to the Hugging Face Hub.
from .pushing import push as push

# Images.
from .spec.published import Preprocessing as Preprocessing
from .vision.preprocessing import preprocess as preprocess
from .vision.prediction import Prediction as Prediction, predict as predict
from .evaluating.evaluation import evaluate as evaluate
from .evaluating.report import EvaluationReport as EvaluationReport

# 8-bit networks.
from .quantizing import quantize as quantize
from .quantization.form import Quantization as Quantization

# Parity.
from .parity.compare import compare as compare
from .parity.model import compare_with_model as compare_with_model
from .parity.report import ParityReport as ParityReport

# Times.
from .benchmarking.benchmark import benchmark as benchmark
from .benchmarking.report import BenchmarkReport as BenchmarkReport

# Backends, installed or your own.
from .backend import (
    get_backend as get_backend,
    Backend as Backend,
    Checkpoint as Checkpoint,
    Gradients as Gradients,
    SGD as SGD,
    AdamW as AdamW,
)

# Errors.
from .errors import (
    ResnetSpecError as ResnetSpecError,
    Problem as Problem,
    SpecError as SpecError,
    GraphError as GraphError,
    WeightsError as WeightsError,
    ModelError as ModelError,
    ImageError as ImageError,
    LabelsError as LabelsError,
    OutputError as OutputError,
    QuantizationError as QuantizationError,
    DownloadError as DownloadError,
    HubError as HubError,
    MissingLibraryError as MissingLibraryError,
    BackendError as BackendError,
)

# Packages with a public interface of their own: pictures, and what else a backend's author needs.
from . import backend as backend, drawing as drawing, graph as graph, operations as operations

__version__: str
