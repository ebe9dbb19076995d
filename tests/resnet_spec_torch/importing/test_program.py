"""Modules that are read give the same results, and what cannot be expressed is reported by line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from resnet_spec import ModelError, get_backend, import_model, load
from resnet_spec.importing.architecture import architecture
from resnet_spec.structure.comparison import compare_with_source
from tests.every_operation import arrays_for, every_operation
from tests.needs import need
from tests.oracles.torchvision_original import models
from tests.resnet_spec_torch.graphs import Builder
from tests.resnet_spec_torch.importing.tutorials import MODELS

# timm imports torchvision, whose operators may be lacking.
models()


def _randomized(model: nn.Module) -> nn.Module:
    """Statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_graph_agree_in_float64(name: str) -> None:
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = _randomized(make()).double()
    backend: Any = get_backend("torch")
    source = backend.import_model(model, shape)
    ours = backend.compile(source.graph, dtype="float64")
    backend.load(ours, source.graph, source.arrays)
    images = np.random.default_rng(1).standard_normal((3, *shape))
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(images)).numpy()
    (found,) = backend.forward(ours, images)
    assert np.abs(found - wanted).max() < 1e-9 * wanted.std()


@pytest.mark.parametrize("spec", ["torchvision/resnet18", "timm/resnet26d", "pytorchcv/preresnet18", "timm/seresnet50"])
def test_a_model_of_ours_is_read_back(spec: str) -> None:
    graph = load(spec, {"input.height": 32, "input.width": 32}).to_graph()
    backend: Any = get_backend("torch")
    model = backend.compile(graph)
    backend.load(model, graph, {p.name: np.ones(p.shape, np.float32) for p in graph.parameters()})
    source = backend.import_model(model, graph.input.shape)
    assert architecture(source.graph, layers=True) == architecture(graph, layers=True)
    assert list(source.arrays) == [parameter.name for parameter in graph.parameters()]


def test_a_model_is_left_as_it_was() -> None:
    model = MODELS["residual"][0]()
    model.train()
    model.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    get_backend("torch").import_model(model, (3, 16, 16))  # type: ignore[attr-defined]
    assert model.training
    assert not model.blocks[0].norm1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_training_settings_are_read() -> None:
    source: Any = get_backend("torch").import_model(MODELS["functional"][0](), (3, 16, 16))  # type: ignore[attr-defined]
    norm = source.graph.by_name["bn"].operation
    assert (norm.epsilon, norm.momentum, norm.running_variance) == (1e-3, 0.01, "unbiased")
    assert [node.calls for node in source.graph.nodes if node.layer == "bn"] == [None, "bn"]


def test_the_input_of_a_network_follows_from_its_first_layer() -> None:
    backend: Any = get_backend("torch")
    assert backend.import_model(nn.Sequential(nn.Linear(12, 3))).graph.input.shape == (12,)
    assert backend.import_model(nn.Sequential(nn.Conv2d(4, 3, 3))).graph.input.shape == (4, 224, 224)


class _Wrong(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.conv(x))


class _Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(dim=1).values


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.cumsum(x, 1), r"aten\.cumsum in the model itself at .*: the spec language has no such"),
        (lambda x: x + 3.5, "has a constant as an operand of add"),
        (lambda x: x / x.exp(), "the spec language has no such operation"),
        (lambda x: x.flatten(0, 1), "changes the batch"),
        (lambda x: x.transpose(0, 1), "changes the batch"),
        (lambda x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1).sort(1).values, "repeats values for what"),
        (lambda x: F.adaptive_avg_pool2d(x, 4), "pools 6×6 to 4×4 by windows of different sizes"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), "pads with the mode 'circular'"),
        (lambda x: F.batch_norm(x, None, None, training=True), "by the batch's own statistics"),
        (lambda x: F.max_pool2d(x, 2, dilation=2), "is a dilated pool"),
        (lambda x: x.std((2, 3)), "the spec language has no such operation"),
        (lambda x: x.square().mean((2, 3)).sqrt(), r"aten\.square in .*: the spec language has no such operation"),
        (lambda x: F.relu(x.clamp(1, 3) * 2), "clips to 1 and 3, which no operation does"),
        (lambda x: x / x.norm(dim=1, keepdim=True), r"aten\.linalg_vector_norm in .*: the spec language has no such"),
        (lambda x: F.normalize(x, p=1.0), r"aten\.linalg_vector_norm in .*: the spec language has no such"),
        (lambda x: F.softplus(x, threshold=10), "a threshold below 20"),
        (lambda x: F.pad(x, (0, 0, 1, 0, 0, 1)), "pads other axes than those of positions, or crops"),
        (lambda x: x[:, :, [0, 2, 5]], "has no such operation"),
        (lambda x: x.index_select(2, torch.arange(0, 6, 3)), "has no such operation|takes positions that are not"),
        (lambda x: torch.where(x > 0, x, 2 * x), "aten.gt.Scalar"),
        (lambda x: x if x.sum() > 0 else -x, "torch.export cannot record _Wrong"),
        (lambda x: torch.cat([x, torch.ones_like(x)], 1), "aten.ones_like"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_reported(function: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        get_backend("torch").import_model(_Wrong(function), (3, 8, 8))  # type: ignore[attr-defined]


class _Strict(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert(x.shape[2] % 4 == 0, "")
        return x


def test_what_cannot_be_recorded_is_reported_with_its_module_and_line() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(_Strict()))
    line = _Strict.forward.__code__.co_firstlineno + 1
    with pytest.raises(ModelError) as caught:
        get_backend("torch").import_model(model, (3, 8, 8))  # type: ignore[attr-defined]
    (problem,) = caught.value.problems
    assert problem.path.startswith("1.0 at ")
    assert problem.path.endswith(f"test_program.py:{line}")
    assert problem.message.startswith(
        "torch.export cannot record Sequential for an input of [2, 3, 8, 8] (AssertionError"
    )
    assert "x.shape[2] % 4 == 0" in problem.message  # the line's text, where the error has none


def test_nodes_that_are_read_differently_in_one_way_are_one_remark() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Dropout2d(0.1), nn.BatchNorm2d(4, momentum=None), nn.Dropout2d(0.2),
        nn.AlphaDropout(0.1), nn.AdaptiveAvgPool2d(3), nn.Upsample((5, 7)),
    )  # fmt: skip
    source: Any = get_backend("torch").import_model(model, (3, 8, 8))  # type: ignore[attr-defined]
    assert source.remarks == (
        "feature_dropout, which acts in training only and is left out (1, 3)",
        "batch normalizations with a cumulative average, written with momentum 0.1 (2)",
        "alpha_dropout, which acts in training only and is left out (4)",
        "adaptive pools, written as windows of 2×2 for this input size (5)",
        "resizes to 5×7, the size that follows from this input's (6)",
    )


def test_every_problem_is_reported_once_and_by_its_line() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.cumsum(x, 1)
        return torch.erfinv(x) + y.relu()

    with pytest.raises(ModelError) as error:
        get_backend("torch").import_model(_Wrong(function), (3, 8, 8))  # type: ignore[attr-defined]
    assert [re.sub(r" .*", "", problem.path) for problem in error.value.problems] == ["aten.cumsum", "aten.erfinv"]
    assert all(re.search(r"test_program\.py:\d+$", problem.path) for problem in error.value.problems)


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ModelError, match="meta device"):
        get_backend("torch").import_model(model)  # type: ignore[attr-defined]


class _Same(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class _Along(nn.Conv1d):
    def __init__(self) -> None:
        super().__init__(3, 4, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, (0, 1)))


class _Pool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 1, 0), value=float("-inf")), 3, 2)


class _Cropped(nn.ConvTranspose2d):
    def forward(self, x: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        return F.pad(super().forward(x), (0, -1, -1, 0))


class _ByPosition(nn.BatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1)).reshape(x.shape)


@pytest.mark.parametrize(
    ("module", "fields"),
    [
        (_Same(3, 4, 3, 2), {"op": "conv2d", "padding": ((0, 1), (0, 1))}),
        (_Pool(), {"op": "max_pool2d", "padding": ((1, 0), (0, 1))}),
        (_Cropped(3, 4, 3, 2), {"op": "conv_transpose2d", "padding": ((1, 0), (0, 1))}),
        (nn.ConvTranspose2d(3, 4, 1, 2, 0, 1), {"op": "conv_transpose2d", "padding": "same"}),
        (_ByPosition(3 * 8 * 8), {"op": "position_batch_norm"}),
        (_Wrong(lambda x: F.pad(x, (-1, -1, 0, -2))), {"op": "slice", "start": 1, "stop": 5}),
        (nn.Sequential(_Wrong(lambda x: x.movedim(1, -1)), nn.LayerNorm(4)), {"op": "layer_norm", "axis": 2}),
    ],
)
def test_what_a_module_of_its_own_does_is_one_operation(module: Any, fields: dict[str, Any]) -> None:
    model = _randomized(nn.Sequential(module, nn.ReLU())).double().eval()
    backend: Any = get_backend("torch")
    source = backend.import_model(model, (3, 8, 8))
    ops = [node.operation.op for node in source.graph.nodes]
    assert len(ops) == {"slice": 4, "layer_norm": 4}.get(fields["op"], 2)
    operation = source.graph.nodes[-2].operation
    assert {name: getattr(operation, name) for name in fields} == fields
    ours = backend.compile(source.graph, dtype="float64")
    backend.load(ours, source.graph, source.arrays)
    images = np.random.default_rng(1).standard_normal((3, 3, 8, 8))
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    assert np.allclose(backend.forward(ours, images)[0], wanted, atol=1e-12)


def test_a_padding_that_is_a_layer_of_its_own_stays_one() -> None:
    source: Any = get_backend("torch").import_model(  # type: ignore[attr-defined]
        nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, 2)), (3, 8, 8)
    )
    assert [node.operation.op for node in source.graph.nodes] == ["pad2d", "conv2d"]


def _read_again(module: nn.Module, shape: tuple[int, ...], tolerance: float = 1e-9) -> Any:
    """The graph of a module, which computes the same."""
    backend: Any = get_backend("torch")
    source = backend.import_model(_randomized(module), shape)
    model = module.double().eval()
    ours = backend.compile(source.graph, dtype="float64")
    backend.load(ours, source.graph, source.arrays)
    images = np.random.default_rng(1).standard_normal((3, *shape))
    with torch.no_grad():
        wanted = model(torch.from_numpy(images)).numpy()
    assert np.abs(backend.forward(ours, images)[0] - wanted).max() < tolerance * wanted.std()
    return source


@pytest.mark.parametrize("saved", [False, True])
def test_every_operation_of_ours_is_read_back(saved: bool, tmp_path: Path) -> None:
    # A file has the maps only, to save time.
    graph = every_operation(of_maps=saved)
    backend: Any = get_backend("torch")
    model = backend.compile(graph)
    arrays = arrays_for(graph, "float32")
    backend.load(model, graph, arrays)
    if saved:
        backend.write(model, graph, tmp_path / "every.pt2")
    source = backend.import_model(tmp_path / "every.pt2" if saved else model, graph.input.shape)
    assert not compare_with_source(source, graph).remarks
    assert source.arrays.keys() == arrays.keys()
    assert all(np.array_equal(source.arrays[name], array) for name, array in arrays.items())
    # It acts in training only, and what is read is the function in inference.
    ops = {node.operation.op for node in graph.nodes} - {"stochastic_depth"}
    assert ops == {node.operation.op for node in source.graph.nodes}


class _Standardized(nn.Conv2d):
    """As networks of before ``var_mean`` wrote it, and with what an argument changes."""

    def __init__(self, correction: int = 0, epsilon: float = 1e-5, outside: bool = False) -> None:
        super().__init__(3, 4, 3)
        self.correction, self.epsilon, self.outside = correction, epsilon, outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        variance = weight.flatten(1).var(1, correction=self.correction).view(-1, 1, 1, 1)
        deviation = variance.sqrt() + self.epsilon if self.outside else (variance + self.epsilon).sqrt()
        return F.conv2d(x, weight / deviation, self.bias)


def test_a_kernel_that_is_standardized_is_one_operation() -> None:
    source = _read_again(nn.Sequential(_Standardized(epsilon=1e-8), nn.ReLU()), (3, 8, 8))
    assert [node.operation.op for node in source.graph.nodes] == ["std_conv2d", "relu"]
    assert source.graph.nodes[0].operation.epsilon == 1e-8
    assert [*source.arrays] == ["0.weight", "0.bias"]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("wrong", [{"correction": 1}, {"outside": True}])
def test_a_kernel_that_is_standardized_otherwise_is_refused(wrong: dict[str, Any], zero: bool) -> None:
    model = nn.Sequential(_Standardized(**wrong))
    if zero:
        # Then every formula agrees.
        nn.init.zeros_(model[0].weight)
    with pytest.raises(
        ModelError, match=r"aten\.mean\.dim in 0 at .*: computes with weights, which the language does not"
    ):
        get_backend("torch").import_model(model, (3, 8, 8))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"])
def test_standardized_kernels_of_timm(kind: str) -> None:
    need("timm")
    # timm imports torchvision, whose operators must be registered first.
    models()
    from timm.layers import std_conv

    gained = {"gamma": 1.7139588594436646} if kind.startswith("Scaled") else {}
    layer = getattr(std_conv, kind)(4, 6, 3, stride=2, groups=2, bias=True, eps=1e-6, **gained)
    if gained:
        nn.init.uniform_(layer.gain)
    source = _read_again(nn.Sequential(layer, nn.ReLU()), (4, 9, 9))
    operation = source.graph.nodes[0].operation
    fields = operation.model_dump(exclude_defaults=True)
    assert (fields["op"], fields["epsilon"], fields.get("gamma", 1.0)) == ("std_conv2d", 1e-6, gained.get("gamma", 1.0))
    assert [*source.arrays] == ["0.weight", "0.bias", "0.gain"][: 2 + len(gained)]


def test_normalizations_of_timm() -> None:
    need("timm")
    # timm imports torchvision, whose operators must be registered first.
    models()
    from timm.layers.evo_norm import EvoNorm2dS0, EvoNorm2dS0a
    from timm.layers.filter_response_norm import FilterResponseNormTlu2d
    from timm.layers.norm import LayerNorm2d

    layers: Any = (
        (FilterResponseNormTlu2d(4), {"op": "filter_response_norm", "threshold": True, "epsilon": 1e-5}),
        (EvoNorm2dS0(4, group_size=2), {"op": "evo_norm_s0", "groups": 2, "epsilon": 1e-5}),
        (
            EvoNorm2dS0a(4, group_size=2, apply_act=False),
            {"op": "evo_norm_s0", "groups": 2, "epsilon": 1e-3, "gate": False},
        ),
        (LayerNorm2d(4), {"op": "layer_norm", "epsilon": 1e-6}),
    )
    for layer, op in layers:
        if op["op"] == "filter_response_norm":
            nn.init.uniform_(layer.tau)
        # timm computes statistics in float32, also of a float64 model.
        source = _read_again(nn.Sequential(nn.Conv2d(3, 4, 3), layer), (3, 8, 8), 1e-6)
        assert source.graph.nodes[1].operation.model_dump(exclude_defaults=True) == op


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("evo_norm_s0", {"groups": 4, "epsilon": 1e-3, "gate": False}),
        # At this size, the first has no padding.
        ("avg_pool2d", {"kernel": 2, "stride": 2, "padding": "same", "count_include_pad": False}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": False}),
    ],
)
def test_a_layer_of_several_functions_is_one_operation(op: str, fields: Any) -> None:
    graph = Builder(8, 6, 6).add("x", op, **fields).graph()
    backend: Any = get_backend("torch")
    model = backend.compile(graph)
    backend.load(model, graph, arrays_for(graph, "float32"))
    source = _read_again(model, graph.input.shape)
    assert [node.operation.op for node in source.graph.nodes] == [op]
    assert not compare_with_source(source, graph).remarks


def test_vectors_of_length_one_are_one_operation() -> None:
    def by_hand(x: torch.Tensor) -> torch.Tensor:
        return x / x.pow(2).sum(1, keepdim=True).sqrt().clamp(min=1e-6)

    for function, epsilon in ((by_hand, 1e-6), (F.normalize, 1e-12), (lambda x: F.normalize(x, eps=0.5), 0.5)):
        source = _read_again(_Wrong(function), (3, 8, 8))
        assert source.graph.nodes[-1].operation.model_dump(exclude_defaults=True) == {
            "op": "l2_normalize", "epsilon": epsilon,
        }  # fmt: skip


class _Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.rand(1, 1, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1, -1), x], 1)


def test_a_learned_value_is_one_operation() -> None:
    source = _read_again(_Token(), (3, 8, 8))
    assert [node.operation.op for node in source.graph.nodes] == ["parameter", "concat"]
    assert source.arrays["token"].shape == (1, 8, 8)


def test_momentum_zero_and_a_cumulative_average_are_told_apart() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.0), nn.BatchNorm2d(3, momentum=None))
    source = _read_again(model, (3, 8, 8))
    assert [node.operation.momentum for node in source.graph.nodes] == [0.0, 0.1]
    assert source.remarks == ("batch normalizations with a cumulative average, written with momentum 0.1 (1)",)


@pytest.mark.parametrize(
    ("module", "shape", "fields"),
    [
        (nn.ConstantPad1d((1, 2), 0.5), (4, 9), {"op": "pad1d", "padding": ((1, 2),), "value": 0.5}),
        (nn.ReflectionPad1d(2), (4, 9), {"op": "pad1d", "padding": ((2, 2),), "mode": "reflect"}),
        (nn.ConstantPad3d((1, 0, 0, 2, 3, 0), 0.5), (2, 4, 5, 6), {"op": "pad3d", "padding": ((3, 0), (0, 2), (1, 0))}),
        (_Wrong(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))), (3, 8, 8), {"op": "pad_channels", "before": 1, "after": 2}),
        (_Along(), (3, 9), {"op": "conv1d", "padding": ((0, 1),)}),
    ],
)
def test_pads_of_each_rank(module: nn.Module, shape: tuple[int, ...], fields: dict[str, Any]) -> None:
    operation = _read_again(module, shape).graph.nodes[-1].operation
    assert {name: getattr(operation, name) for name in fields} == fields


@pytest.mark.slow
def test_a_model_of_torchvision_with_another_stem_and_head_extends_the_shipped_spec() -> None:
    model = models().resnet50()
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(2048, 7))
    assert import_model(model, input=(3, 32, 32)).text == EXTENDED


EXTENDED = """\
extends: torchvision/resnet50
input: {height: 32, width: 32}
parameters: {classes: 7}
stem:
  conv1: {conv2d: {kernel: 3, stride: 1, padding: 1}}
  maxpool: null
head:
  fc: null
  fc.0: {dropout: {rate: 0.5}}
  fc.1: {linear: {features: classes}}
"""
