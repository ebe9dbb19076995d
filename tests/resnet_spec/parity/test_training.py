"""Do the backends train alike, on all that a network may be, and is it caught where one trains wrongly?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import SpecError
from resnet_spec.backend.optimizers import SGD
from resnet_spec.graph import Graph
from resnet_spec.operations import BIASES
from resnet_spec.parity import plan as plans
from resnet_spec.parity import trainable
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.plan import Plan, all_terms
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.report import Difference
from resnet_spec.parity.rounding import ROUNDING_FACTOR
from resnet_spec.parity.trainable import check_batch, zero_gradient_biases
from resnet_spec.parity.training import TrainingComparison
from tests.needs import need
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet
from tests.third_party import distribution, on_path

PLAN = Plan(steps=3, batch=2, seed=0)

Compare = Callable[..., list[Difference]]


def comparing(folder: Path, processes: list[BackendProcess]) -> Compare:
    def compare(graph: Graph, plan: Plan = PLAN, *, weights: float | None = None) -> list[Difference]:
        """``weights`` fills every parameter; they are random by default."""
        comparison = TrainingComparison(processes, Scratch(folder), lambda step: None)
        arrays = random_arrays(graph)
        if weights is not None:
            arrays = {name: np.full_like(array, weights) for name, array in arrays.items()}
        return comparison.run(graph, arrays, plan=plan)

    return compare


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """In networks this small threads only wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture(scope="module")
def both(kept_backends: None, one_thread: None) -> Iterator[list[BackendProcess]]:
    need("tensorflow")
    with started(["torch", "tensorflow"]) as processes:
        yield processes


@pytest.fixture
def compare(tmp_path: Path, both: list[BackendProcess]) -> Compare:
    """Every difference between the two backends."""
    return comparing(tmp_path, both)


@pytest.fixture(scope="module")
def with_wrong(
    kept_backends: None, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[BackendProcess]]:
    """PyTorch and, as a third party provides it, the backend that trains wrongly."""
    folder = tmp_path_factory.mktemp("wrong")
    distribution(folder, "wrong", {"wrong": "wrong_training:Wrong"}, Path(__file__).with_name("wrong_training.py"))
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, folder)
        with started(["torch", "wrong"]) as processes:
            yield processes


@pytest.fixture
def mistaken(tmp_path: Path, with_wrong: list[BackendProcess]) -> Compare:
    """Every difference between PyTorch and the wrong backend."""
    return comparing(tmp_path, with_wrong)


def rows(differences: list[Difference]) -> list[str]:
    return [f"{d.quantity} {d.subject}" for d in differences]


def failed(differences: list[Difference]) -> list[Difference]:
    return [d for d in differences if not d.passed]


# -- networks that train alike -----------------------------------------------------------------------------------


def biased() -> Builder:
    """Convolutions with biases, all but the last in front of normalizations."""
    b = Builder(3, 16, 16)
    b.add("conv1", "conv2d", channels=4, kernel=3, padding=1, bias=True).add("bn1", "batch_norm").add("relu1", "relu")
    b.add("conv2", "conv2d", channels=4, kernel=3, padding=1, bias=True).add("add", "add", "conv2", "conv1")
    b.add("bn2", "batch_norm").add("relu2", "relu")
    b.add("conv3", "conv2d", channels=4, kernel=3, bias=True).add("relu3", "relu")
    return b.add("pool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=3)


def called_twice(stride: int) -> Graph:
    """One normalization for two maps, of one size or of two."""
    b = Builder(3, 8, 8)
    b.add("conv1", "conv2d", channels=4, kernel=3, padding=1).add("bn", "batch_norm", momentum=0.3).add("relu1", "relu")
    b.add("conv2", "conv2d", channels=4, kernel=3, padding=1, stride=stride)
    return b.add("bn_2", "batch_norm", calls="bn", momentum=0.3).add("relu2", "relu").graph()


def decoder() -> Graph:
    """From a vector to a map, every position normalized by itself."""
    b = Builder(6)
    b.add("fc", "linear", features=16).add("map", "reshape", shape=(4, 2, 2)).add("pbn", "position_batch_norm")
    b.add("up", "conv_transpose2d", channels=3, kernel=4, stride=2, padding=((1, 1), (1, 1)), bias=True)
    return b.add("gn", "group_norm", groups=3, epsilon=1e-5).add("sigmoid", "sigmoid").graph()


def several() -> Graph:
    """A map and two vectors as outputs, with dropout on the way, and no normalization."""
    b = Builder(3, 8, 8)
    b.add("conv", "conv2d", channels=4, kernel=3).add("relu", "relu").add("depth", "stochastic_depth", rate=0.5)
    b.add("pool", "global_avg_pool").add("flatten", "flatten").add("drop", "dropout", rate=0.5)
    b.add("one", "linear", features=2).add("two", "linear", "drop", features=3)
    return b.graph("conv", "one", "two")


def without_parameters() -> Graph:
    return Builder(3, 8, 8).add("pool", "avg_pool2d", kernel=2).add("relu", "relu").add("flatten", "flatten").graph()


def projecting() -> Graph:
    """A projection head: two linear layers, each with a normalization of vectors."""
    b = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("pool", "global_avg_pool")
    b.add("flatten", "flatten").add("fc1", "linear", features=5).add("bn1", "batch_norm", running_variance="biased")
    b.add("relu", "relu").add("fc2", "linear", features=3, bias=False)
    return b.add("bn2", "batch_norm", scale=False, offset=False).graph()


def statistics_alone() -> Graph:
    return Builder(3, 8, 8).add("bn", "batch_norm", scale=False, offset=False).add("relu", "relu").graph()


FIXED = ["losses first loss", "gradients {}", "gradients input"]
STATISTICS = ["statistics {}", "statistics {}, exact"]
STEPS = [f"{quantity} 3 steps of {kind}" for kind in ("sgd", "adamw") for quantity in ("losses", "weights")]


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param(small_resnet(), FIXED + STATISTICS + STEPS, marks=pytest.mark.slow),
        pytest.param(biased().graph(), FIXED + STATISTICS + STEPS, marks=pytest.mark.slow),
        (called_twice(1), FIXED + STATISTICS + STEPS),
        pytest.param(called_twice(2), FIXED + STATISTICS + STEPS, marks=pytest.mark.slow),
        pytest.param(decoder(), FIXED + STATISTICS + STEPS, marks=pytest.mark.slow),
        pytest.param(several(), FIXED + STEPS, marks=pytest.mark.slow),
        (without_parameters(), ["losses first loss", "gradients input"]),
        (projecting(), FIXED + STATISTICS + STEPS),
        (statistics_alone(), ["losses first loss", "gradients input", *STATISTICS]),
    ],
    ids=[
        *("resnet", "biased", "twice", "twice at two sizes", "decoder", "several", "no parameters"),
        *("projection", "statistics alone"),
    ],
)
def test_the_backends_train_alike(compare: Compare, graph: Graph, expected: list[str]) -> None:
    differences = compare(graph)
    assert not failed(differences)
    assert len(differences) == len(expected)
    for found, pattern in zip(rows(differences), expected, strict=True):
        before, _, after = pattern.partition("{}")
        assert found.startswith(before)
        assert found.endswith(after)
    # Bounds are of rounding, and never less than it is sure to be.
    for d in differences:
        computed = d.subject.endswith(("sgd", "adamw"))
        assert (
            (ROUNDING_FACTOR * all_terms(graph, 2) ** 0.5 * 2.0**-53 < d.bound < 1e-8)
            if computed
            else d.bound == pytest.approx(1e-9)
        )


def test_variances_differ_by_the_stated_factor_and_not_at_all_where_exact(
    both: list[BackendProcess], compare: Compare, tmp_path: Path
) -> None:
    graph = small_resnet()
    differences = [d for d in compare(graph, Plan(0, 2, 0)) if d.quantity == "statistics"]
    assert all(d.relative < 1e-13 for d in differences)
    images, targets = plans.random_batch(graph, 2, 0)
    path = next(tmp_path.glob("*training.safetensors"))
    for exact, apart in ((False, True), (True, False)):
        for process in both:
            process.load(graph, path, "float64", exact_statistics=exact)
            process.gradients(images, targets)
        left, right = (process.arrays_after()["layer2.0.bn3.running_var"] for process in both)
        # Of 2 × 4 × 4 values.
        assert (np.abs(left - right).max() > 1e-4) == apart


# -- biases whose gradient is 0 ----------------------------------------------------------------------------------


def test_a_bias_that_ends_in_normalizations_alone_is_exempt_and_no_other() -> None:
    assert zero_gradient_biases(biased().graph()) == {"conv1.bias", "conv2.bias"}
    assert zero_gradient_biases(biased().graph("conv2", "fc")) == {"conv1.bias"}
    assert zero_gradient_biases(biased().graph("add", "fc")) == set()
    names = {
        "keras/resnet50": lambda name: not name.startswith("predictions"),
        "keras/resnet50v2": lambda name: name.endswith(("_3_conv.bias", "_0_conv.bias")),
        # A block's projection, conv3, has no normalization after it.
        "tutorial/resnet18": lambda name: not name.startswith("fc") and not name.endswith("conv3.bias"),
        "torchvision/resnet18": lambda name: False,
    }
    for name, zero in names.items():
        graph = resnet_spec.load(name).to_graph()
        biases = {p.name for p in graph.parameters() if p.role in BIASES}
        assert zero_gradient_biases(graph) == {bias for bias in biases if zero(bias)}, name


def test_a_bias_before_the_normalization_of_a_vector_is_exempt() -> None:
    b = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("pool", "global_avg_pool")
    b.add("flatten", "flatten").add("fc1", "linear", features=5).add("bn", "batch_norm").add("relu", "relu")
    assert zero_gradient_biases(b.add("fc2", "linear", features=3).graph()) == {"conv.bias", "fc1.bias"}


def test_terms_that_are_not_of_whole_channels_are_not_exempt() -> None:
    b = Builder(3, 8, 8).add("map", "offset", shape="map").add("channels", "offset", shape="channels")
    b.add("rows", "layer_norm", axis=1, epsilon=1e-3).add("fc", "linear", features=5).add("bn", "batch_norm")
    graph = b.add("relu", "relu").graph()
    assert zero_gradient_biases(graph) == {"channels"}
    b = Builder(3, 8, 8).add("channels", "offset", shape="channels").add("number", "offset", shape="scalar")
    assert zero_gradient_biases(b.add("bn", "batch_norm").add("relu", "relu").graph()) == {"channels", "number"}


@pytest.mark.parametrize(
    ("between", "zero"),
    [
        (("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1}), True),
        (("avg_pool2d", {"kernel": 3, "padding": 1, "count_include_pad": False}), True),
        (("avg_pool2d", {"kernel": 3, "padding": 1, "count_include_pad": True}), False),
        (("conv2d", {"channels": 4, "kernel": 3}), True),
        (("conv2d", {"channels": 4, "kernel": 3, "padding": 1}), False),
        (("relu", {}), False),
        (("pad2d", {"padding": 1}), False),
        (("scale", {"shape": "channels"}), True),
        (("scale", {"shape": "map"}), False),
        (("offset", {"shape": "map"}), True),
        (("instance_norm", {"epsilon": 1e-3}), True),
        (("layer_norm", {"axis": 2, "epsilon": 1e-3}), True),
        (("layer_norm", {"epsilon": 1e-3}), False),
        (("linear", {"features": 5}), False),
    ],
)
@pytest.mark.parametrize("norm", [("batch_norm", {}), ("group_norm", {"groups": 4, "epsilon": 1e-5})])
def test_what_a_shift_passes_unchanged_is_what_the_gradient_says(
    with_wrong: list[BackendProcess],
    tmp_path: Path,
    between: tuple[str, dict[str, Any]],
    zero: bool,
    norm: tuple[str, dict[str, Any]],
) -> None:
    b = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("between", between[0], **between[1])
    graph = b.add("norm", norm[0], **norm[1]).add("relu", "relu").add("last", "conv2d", channels=2, kernel=1).graph()
    assert ("conv.bias" in zero_gradient_biases(graph)) == zero
    process = with_wrong[0]
    resnet_spec.write_weights(tmp_path / "w.safetensors", graph, random_arrays(graph))
    process.load(graph, tmp_path / "w.safetensors", "float64")
    process.gradients(*plans.random_batch(graph, 4, 0))
    _, gradients = process.gradients_found()
    largest = max(float(np.linalg.norm(array)) for array in gradients.values())
    assert (float(np.linalg.norm(gradients["conv.bias"])) < 1e-12 * largest) == zero


@pytest.mark.slow
def test_without_the_exemption_adamw_takes_noise_for_a_gradient(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights() -> float:
        (found,) = [d.relative for d in compare(biased().graph()) if rows([d]) == ["weights 3 steps of adamw"]]
        return found

    exempt = weights()
    monkeypatch.setattr(trainable, "zero_gradient_biases", lambda graph: set())
    assert weights() > 100 * exempt


# -- mistakes ----------------------------------------------------------------------------------------------------

SGD_STEPS, ADAMW_STEPS = (
    {f"{quantity} 3 steps of {kind}" for quantity in ("losses", "weights")} for kind in ("sgd", "adamw")
)


@pytest.mark.parametrize(
    ("mistake", "caught"),
    [
        ("none", set()),
        ("one kernel", {"gradients fc.bias"}),
        pytest.param("images", {"gradients input"}, marks=pytest.mark.slow),
        ("nan", {"gradients fc.bias"}),
        pytest.param(
            "detached", {"gradients conv1.weight", "gradients input"} | SGD_STEPS | ADAMW_STEPS, marks=pytest.mark.slow
        ),
        pytest.param("decoupled decay", SGD_STEPS, marks=pytest.mark.slow),
        ("coupled decay", ADAMW_STEPS),
        pytest.param("epsilon", ADAMW_STEPS, marks=pytest.mark.slow),
        pytest.param("momentum form", SGD_STEPS, marks=pytest.mark.slow),
        ("nesterov", SGD_STEPS),
        pytest.param("unrounded", SGD_STEPS | ADAMW_STEPS, marks=pytest.mark.slow),
        (
            "momentum of statistics",
            {"statistics layer1.1.bn1.running_mean", "statistics layer1.1.bn1.running_mean, exact"},
        ),
    ],
)
def test_a_mistake_is_caught_where_it_is_made(mistaken: Compare, mistake: str, caught: set[str]) -> None:
    differences = mistaken(small_resnet().model_copy(update={"name": mistake}))
    assert set(rows(failed(differences))) == caught


def test_statistics_that_are_not_exact_where_they_should_be_are_caught(mistaken: Compare) -> None:
    graph = (
        Builder(3, 8, 8).add("bn", "batch_norm", running_variance="biased").add("relu", "relu").graph(name="inexact")
    )
    assert rows(failed(mistaken(graph))) == ["statistics bn.running_var, exact"]


ZERO_STEPS = {"weights 3 steps of sgd", "weights 3 steps of adamw"}


@pytest.mark.parametrize(
    ("mistake", "caught"),
    [("none", set()), ("gradient of nothing", {"gradients conv.weight"}), ("step of nothing", SGD_STEPS | ADAMW_STEPS)],
)
def test_a_reference_of_zero_is_judged_absolutely(mistaken: Compare, mistake: str, caught: set[str]) -> None:
    """All weights are zero, and so are the gradients and the steps; any other value is a difference."""
    graph = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("relu", "relu")
    differences = mistaken(graph.graph(name=mistake), weights=0.0)
    assert set(rows(failed(differences))) == caught
    zero = [d for d in differences if not d.size]
    assert set(rows(zero)) == {"gradients conv.weight", "gradients input"} | ZERO_STEPS
    assert all(d.largest == 0 for d in zero if d.passed)


@pytest.mark.slow
def test_two_frameworks_agree_where_nothing_is_trained(compare: Compare) -> None:
    graph = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("relu", "relu")
    assert not failed(compare(graph.graph(), weights=0.0))


# -- bounds ------------------------------------------------------------------------------------------------------


def test_terms_are_those_of_sums_forward_and_backward() -> None:
    b = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3).add("pool", "global_avg_pool")
    forward, backward = 27 + 36 + 4, 2 * (36 + 1 + 1 + 1)
    assert (
        all_terms(b.add("flatten", "flatten").add("fc", "linear", features=2, bias=False).graph(), 2)
        == forward + backward
    )


def test_a_batch_that_leaves_one_value_is_refused_by_name() -> None:
    b = Builder(3, 8, 8).add("pool", "global_avg_pool").add("bn", "batch_norm").add("relu", "relu")
    check_batch(b.graph(), 2)
    with pytest.raises(SpecError, match="a training batch of 1 leaves bn one value to normalize by"):
        check_batch(b.graph(), 1)
    check_batch(Builder(3, 8, 8).add("bn", "batch_norm").graph(), 1)
    with pytest.raises(SpecError, match="pbn"):
        check_batch(Builder(3, 8, 8).add("pbn", "position_batch_norm").graph(), 1)


def test_optimizers_round_their_numbers_to_float32() -> None:
    assert SGD(learning_rate=0.1).learning_rate == float(np.float32(0.1))
    assert SGD(learning_rate=0.1, rate_factor=0.3).rate(3) == 0.009000000543892384
