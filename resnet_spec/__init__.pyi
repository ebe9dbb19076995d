from .backend.protocol import Backend as Backend
from .backend.registry import get_backend as get_backend
from .building import build as build
from .errors import (
    BackendError as BackendError,
)
from .errors import (
    DownloadError as DownloadError,
)
from .errors import (
    GraphError as GraphError,
)
from .errors import (
    ImageError as ImageError,
)
from .errors import (
    LabelsError as LabelsError,
)
from .errors import (
    OutputError as OutputError,
)
from .errors import (
    Problem as Problem,
)
from .errors import (
    ResnetSpecError as ResnetSpecError,
)
from .errors import (
    SpecError as SpecError,
)
from .errors import (
    WeightsError as WeightsError,
)
from .graph.graph import Graph as Graph
from .graph.initialization import initialize as initialize
from .graph.summary import Summary as Summary
from .graph.summary import summarize as summarize
from .parity.compare import compare as compare
from .parity.report import ParityReport as ParityReport
from .spec.catalog import available as available
from .spec.loader import load as load
from .spec.published import Preprocessing as Preprocessing
from .spec.spec import Spec as Spec
from .vision.prediction import Prediction as Prediction
from .vision.prediction import predict as predict
from .vision.preprocessing import preprocess as preprocess
from .weights.io import read_weights as read_weights
from .weights.io import write_weights as write_weights

__version__: str
