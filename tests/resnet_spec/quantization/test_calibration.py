"""Which values and kernels are quantized, and to which grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from resnet_spec.errors import QuantizationError
from resnet_spec.graph import Graph
from resnet_spec.optimization import optimize
from resnet_spec.quantization import Quantization, calibrate, check, grids_of, place
from resnet_spec.quantization.ranges import Histogram
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet


def quantized(graph: Graph, images: np.ndarray, **settings: Any) -> tuple[Graph, Quantization]:
    rewriting = optimize(graph)
    optimized, arrays = rewriting.graph, rewriting.arrays(random_arrays(graph), "float32")
    backend = TorchBackend()

    def runner(names: Sequence[str]) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
        part = optimized.with_outputs(names)
        model = backend.compile(part, dtype="float32")
        backend.load(model, part, arrays)
        return lambda batch: backend.forward(model, batch)

    return optimized, calibrate(graph, optimized, arrays, lambda: [images[:1], images[1:]], runner, **settings)


# -- what is quantized -------------------------------------------------------------------------------------------


def test_a_value_that_only_an_activation_reads_is_rounded_after_it() -> None:
    graph = optimize(small_resnet()).graph
    placement = place(graph)
    assert placement.values[:4] == ("input", "relu", "layer1.0.relu1", "layer1.0.relu2")
    # The terms of a sum have grids of their own, and its activation has the sum's.
    assert {"layer1.0.conv3", "layer1.0.downsample.0", "layer1.0.relu3"} <= {*placement.values}
    assert "layer1.0.add" not in placement.values
    assert "maxpool" not in placement.values
    assert placement.kernels[0] == "conv1.weight"
    assert placement.kernels[-1] == "fc.weight"


def test_what_is_kept_has_neither_a_grid_nor_a_quantized_kernel() -> None:
    graph = optimize(small_resnet()).graph
    placement = place(graph, ["layer2", "avgpool", "fc"])
    assert not [name for name in placement.kernels if name.startswith(("layer2", "fc"))]
    assert not [name for name in placement.values if name.startswith(("layer2", "fc"))]
    # An activation in float is not fused with the layer before it.
    assert "conv1" in place(graph, ["relu"]).values
    with pytest.raises(QuantizationError, match=r"no node or stage of test/net matches 'layer3.*'"):
        place(graph, ["layer3.*", "fc"])
    with pytest.raises(QuantizationError, match="no operation that is left"):
        place(graph, ["*"])


def test_a_layer_that_is_called_in_float_too_keeps_its_kernel() -> None:
    b = Builder(3, 8, 8)
    b.add("conv", "conv2d", channels=3, kernel=3, padding=1).add("act", "silu")
    b.add("again", "conv2d", calls="conv", channels=3, kernel=3, padding=1)
    graph = b.graph()
    assert place(graph).kernels == ("conv.weight",)
    # Activations that are no limits stay in float, and what integers read of them is rounded.
    assert place(graph).values == ("input", "conv", "act", "again")
    assert place(graph, ["again"]).kernels == ()


def test_selected_values_keep_their_grid() -> None:
    optimized, chosen = quantized(small_resnet(), random_images(2, 3, 32, 32))
    grids = grids_of(optimized, chosen)
    assert grids["maxpool"] == grids["relu"]
    assert grids["flatten"] == grids["avgpool"] != grids["layer2.0.relu3"]


def test_an_average_pool_has_the_grid_of_its_input() -> None:
    b = Builder(3, 8, 8)
    b.add("conv", "conv2d", channels=3, kernel=3).add("relu", "relu")
    b.add("pool", "avg_pool2d", kernel=2, stride=2, count_include_pad=True)
    _, chosen = quantized(b.graph(), random_images(2, 3, 8, 8))
    assert chosen.values["pool"] == chosen.values["relu"]


# -- which grids -------------------------------------------------------------------------------------------------


def test_the_range_of_all_images_counts() -> None:
    images = random_images(3, 3, 32, 32)
    images[2] *= 10
    optimized, chosen = quantized(small_resnet(), images)
    low, high = chosen.values["input"].limits
    step = chosen.values["input"].scale
    assert low == pytest.approx(images.min(), abs=step)
    assert high == pytest.approx(images.max(), abs=step)
    assert chosen.values["relu"].zero_point == -128
    assert chosen.images.count == 3
    check(optimized, chosen, small_resnet().fingerprint)


def test_the_hash_is_of_the_images_in_order_and_not_of_their_batches() -> None:
    images = random_images(3, 3, 32, 32)
    _, one = quantized(small_resnet(), images)
    _, other = quantized(small_resnet(), images[::-1].copy())
    assert one.images.sha256 == sha256(images.tobytes()).hexdigest() != other.images.sha256
    assert one.values["input"] == other.values["input"]


@pytest.mark.parametrize(("method", "largest"), [("percentile", 10), ("mse", 55), ("entropy", 50)])
def test_a_rare_large_number_does_not_decide_alone(method: Any, largest: float) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=100_000)
    numbers[0] = 60.0
    histogram = Histogram("x")
    histogram.see(numbers)
    histogram.count(numbers)
    whole, chosen = histogram.grid("minmax"), histogram.grid(method)
    assert whole.limits[1] >= 59.9
    assert 2.5 < chosen.limits[1] < largest
    error = np.square(chosen.rounded(numbers[1:]) - numbers[1:]).mean()
    assert error < np.square(whole.rounded(numbers[1:]) - numbers[1:]).mean()


def test_the_smallest_squared_error_is_chosen_of_those_tried() -> None:
    numbers = np.random.default_rng(0).standard_t(4, size=50_000)
    histogram = Histogram("x")
    histogram.see(numbers)
    histogram.count(numbers)

    def error(method: Any) -> float:
        return float(np.square(histogram.grid(method).rounded(numbers) - numbers).mean())

    assert error("mse") <= min(error("minmax"), error("percentile"), error("entropy")) * 1.01


def test_a_value_that_is_not_finite_is_named() -> None:
    images = random_images(2, 3, 32, 32)
    images[1, 0, 0, 0] = np.nan
    with pytest.raises(QuantizationError, match="input: is NaN or infinite"):
        quantized(small_resnet(), images)


def test_a_file_of_another_network_is_refused_with_every_mistake() -> None:
    optimized, chosen = quantized(small_resnet(), random_images(2, 3, 32, 32))
    with pytest.raises(QuantizationError, match="was calibrated for test/net"):
        check(optimized, chosen, "0" * 64)
    wrong = chosen.model_copy(
        update={
            "values": chosen.values | {"relux": chosen.values["relu"]},
            "kernels": {"conv1.weight": (1.0,), "conv9.weight": (1.0,)},
        }
    )
    with pytest.raises(QuantizationError) as error:
        check(optimized, wrong, small_resnet().fingerprint)
    assert len(error.value.problems) == 3
    assert "values.relux: is not a value of the optimized network; did you mean 'relu'?" in str(error.value)
    assert "kernels.conv1.weight: has 1 scales for 4 output channels" in str(error.value)


def test_many_zeros_do_not_decide_the_range_by_divergence() -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=100_000).clip(0)
    histogram = Histogram("x")
    histogram.see(numbers)
    histogram.count(numbers)
    assert histogram.grid("entropy").limits[1] > 0.7 * numbers.max()


def test_numbers_too_small_for_a_grid_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    graph = Builder(3, 4, 4).add("conv", "conv2d", channels=2, kernel=3).graph()
    quantized(graph, 1e-34 * random_images(2, 3, 4, 4))
    quantized(graph, np.zeros((2, 3, 4, 4)))
    assert caplog.text == ""
    quantized(graph, 1e-38 * random_images(2, 3, 4, 4))
    assert "input and 1 more values: all numbers are too small for an 8-bit grid" in caplog.text
