"""The backends compute what the original libraries computed, read from traces that need none of those libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from resnet_spec.operations import OPERATIONS
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.report import largest_difference
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE
from resnet_spec.parity.trace import compare_with_trace, read_trace
from resnet_spec.spec.catalog import Catalog
from resnet_spec.weights.formats.safetensors import write_safetensors

from .cases import CASES, FOLDER, arrays_of, graph_of, images_of, path_of

LARGEST = 40_000
"""Bytes of a trace."""


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest, kept_backends: None) -> Iterator[BackendProcess]:
    with started([request.param]) as (process,):
        yield process


@pytest.mark.parametrize("name", CASES)
def test_every_value_equals_the_original(name: str, backend: BackendProcess, tmp_path: Path) -> None:
    trace = read_trace(path_of(name))
    write_safetensors(tmp_path / "weights.safetensors", trace.weights)
    wanted = {**trace.nodes, trace.graph.outputs[-1]: trace.exact}
    backend.load(trace.graph.with_outputs(wanted), tmp_path / "weights.safetensors", "float64")
    backend.forward(trace.images, "float64")
    for node, value in zip(wanted, backend.outputs(), strict=True):
        assert largest_difference(value, wanted[node]) <= RELATIVE_TOLERANCE * wanted[node].std(), node


@pytest.mark.usefixtures("kept_backends")
def test_a_block_agrees_with_its_original_through_the_public_function() -> None:
    report = compare_with_trace(path_of("blocks/bottleneck"), "torch", bisect=True)
    assert report.passed
    assert [difference.dtype for difference in report.differences] == ["float64", "float32"]
    original = "torchvision.models.resnet.Bottleneck of torchvision"
    assert [name.startswith(original) for name in report.environment] == [False, True]
    assert {node.block for node in report.nodes} == {"block.0"}


@pytest.mark.parametrize("name", CASES)
def test_the_trace_matches_its_case(name: str) -> None:
    """After a change to a case, record its trace again: ``python -m tests.golden.making``."""
    trace, graph = read_trace(path_of(name)), graph_of(name)
    assert trace.graph.fingerprint == graph.fingerprint
    assert trace.graph.input == graph.input
    arrays = arrays_of(graph)
    assert trace.weights.keys() == arrays.keys()
    assert all(np.array_equal(trace.weights[key], array) for key, array in arrays.items())
    assert np.array_equal(trace.images, images_of(graph))


@pytest.mark.parametrize("name", CASES)
def test_the_trace_names_its_source_and_is_small(name: str) -> None:
    trace = read_trace(path_of(name))
    library, version = trace.source.rpartition(" of ")[2].split(" ")
    assert trace.environment[library] == version
    assert "resnet_spec_" not in trace.source
    assert trace.machine.keys() >= {"processor", "system", "python"}
    assert path_of(name).stat().st_size < LARGEST


def test_every_case_has_a_trace_and_every_trace_a_case() -> None:
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == {path_of(name) for name in CASES}


def test_every_operation_has_a_trace() -> None:
    """A separate trace, in which the operation computes the output."""
    graphs = [graph_of(name) for name in CASES if name.startswith("operations/")]
    assert {graph.by_name[graph.outputs[-1]].operation.op for graph in graphs} == OPERATIONS.keys()


WITHOUT_A_TRACE = {
    "air_attention",
    "atrous_pyramid",
    "bilinear_attention",
    "bottleneck_attention",
    "byob_bottleneck",
    "byob_edge",
    "byob_regnetz_bottleneck",
    "convolutional_attention",
    "dirac_unit",
    "factored_convolution",
    "global_context",
    "half_linear_quad_stem",
    "instance_batch_norm",
    "iresnet_block",
    "keras_preact_basic_block",
    "legacy_se_basic_block",
    "legacy_se_bottleneck",
    "legacy_se_strided_bottleneck",
    "norm_free_bottleneck",
    "norm_free_regnet_bottleneck",
    "normalized_sigmoid",
    "preact_avg_projection",
    "pytorchcv_air_bottleneck",
    "pytorchcv_bam_basic_block",
    "pytorchcv_basic_block",
    "pytorchcv_bottleneck",
    "pytorchcv_cbam_basic_block",
    "pytorchcv_ibn_bottleneck",
    "pytorchcv_preact_basic_block",
    "quad_stem",
    "r2plus1d_basic_block",
    "regnet_bottleneck",
    "regnet_group_norm_bottleneck",
    "regnet_preact_bottleneck",
    "regnetz_bottleneck",
    "res2net_bottleneck",
    "resnest_bottleneck",
    "selective_kernel",
    "selective_kernel_basic_block",
    "selective_kernel_bottleneck",
    "separable_atrous_pyramid",
    "separable_convolution",
    "split_attention",
    "tiered_stem",
    "torchvision_regnet_bottleneck",
    "unet_decoder",
    "video_basic_block",
}
"""Blocks that only whole networks compare with their originals (``tests/oracles``)."""


def test_every_shipped_block_has_a_trace() -> None:
    graphs = [graph_of(name) for name in CASES if name.startswith("blocks/")]
    traced = {scope.block for graph in graphs for scope in graph.scopes}
    assert Catalog.shipped().blocks().keys() - traced == WITHOUT_A_TRACE
